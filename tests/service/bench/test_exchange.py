import pytest

from service.bench.exchange import Exchange, Head, body_of, post, read_head, read_headers

RESPONSE = b"HTTP/1.1 200 OK\r\ndate: today\r\nContent-LENGTH:  4\r\nx-note: a:b\r\n\r\nbody"


def test_a_request_carries_its_headers_and_the_length_of_its_body() -> None:
    request = post("host:1", "/v2/x", {"content-type": "text/plain"}, b"12345")
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v2/x HTTP/1.1"
    assert set(lines[1:]) == {b"host: host:1", b"content-type: text/plain", b"content-length: 5"}
    assert body == body_of(request) == b"12345"


def test_a_head_is_read_whatever_the_case_of_its_names() -> None:
    assert read_head(RESPONSE) == Head("200", len(RESPONSE) - 4, 4)
    assert read_headers(RESPONSE) == {"date": "today", "content-length": "4", "x-note": "a:b"}


def test_a_head_that_is_not_complete_is_waited_for() -> None:
    cuts = range(len(RESPONSE) - len(b"body"))
    assert {read_head(RESPONSE[:size]) for size in cuts} == {None}


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-content-length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\ncontent-length: 4\r\n\r\n",
    ],
)
def test_a_response_without_a_length_is_refused(response: bytes) -> None:
    with pytest.raises(ValueError, match=r"Content-Length|invalid literal"):
        read_head(response)


def test_a_binary_answer_fits_by_its_length() -> None:
    exchange = Exchange(b"", body_bytes=4)
    assert exchange.fits(RESPONSE, Head("200", 0, 4))
    assert not exchange.fits(RESPONSE, Head("200", 0, 5))


def test_a_json_answer_fits_by_its_number_of_values() -> None:
    exchange = Exchange(b"", body_bytes=9, commas=2)
    for body, fits in ((b"[1,2,3]", True), (b"[1.25,2e-7,3]", True), (b"[1,2]", False)):
        response = b"head, with commas,,,\r\n\r\n" + body
        assert exchange.fits(response, Head("200", len(response) - len(body), len(body))) is fits
