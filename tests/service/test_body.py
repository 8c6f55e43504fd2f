"""Bodies and forms, read within their limits."""

from collections.abc import AsyncIterator

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message

from service.body import Part, read_body, read_form
from service.errors import BadBody, BodyTooLarge, UnreadableMedia

FORM = Headers({"content-type": "multipart/form-data; boundary=x"})


def request(*chunks: bytes, **headers: str) -> Request:
    """A request whose body comes in these chunks; reading on after them is a failure."""

    async def messages() -> AsyncIterator[Message]:
        for place, chunk in enumerate(chunks, start=1):
            yield {"type": "http.request", "body": chunk, "more_body": place < len(chunks)}

    coming = messages()
    raw = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    return Request({"type": "http", "headers": raw}, lambda: anext(coming))


async def test_chunks_are_joined() -> None:
    assert await read_body(request(b"ab", b"", b"c"), 3) == b"abc"
    assert await read_body(request(b""), 3) == b""


async def test_body_of_just_the_limit_is_read() -> None:
    assert await read_body(request(b"abc", content_length="3"), 3) == b"abc"


async def test_no_more_is_read_than_the_limit_allows() -> None:
    coming = request(b"ab", b"cd", b"never asked for")
    with pytest.raises(BodyTooLarge, match="at most 3 bytes; got more"):
        await read_body(coming, 3)
    assert (await coming.receive())["body"] == b"never asked for"


async def test_announced_length_is_refused_unread() -> None:
    coming = request(b"abcd", content_length="1000000")
    with pytest.raises(BodyTooLarge, match="got 1,000,000"):
        await read_body(coming, 3)
    assert (await coming.receive())["body"] == b"abcd"


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "", "1.0", "²"])
async def test_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(BadBody, match="Content-Length"):
        await read_body(request(b"", content_length=length), 3)


async def test_coded_body_is_refused() -> None:
    with pytest.raises(UnreadableMedia, match="got 'gzip'"):
        await read_body(request(b"", content_encoding="gzip"), 3)
    assert await read_body(request(b"a", content_encoding="identity"), 3) == b"a"


async def test_forms_parts_come_in_order_with_names_and_types() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a b.png"\r\n'
        b"Content-Type: IMAGE/PNG; q=1\r\n\r\n\x00\xff\r\n"
        b'--x\r\nContent-Disposition: form-data; name="parameters"\r\n\r\n{"a": "\xc3\xa9"}\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--x--\r\n'
    )
    assert await read_form(FORM, body, max_files=2) == [
        Part("file", b"\x00\xff", "a b.png", "image/png"),
        Part("parameters", '{"a": "é"}'.encode()),
        Part("file", b"", "", ""),
    ]


async def test_form_of_more_files_than_allowed_is_too_large() -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n'
    assert len(await read_form(FORM, part * 3 + b"--x--\r\n", max_files=3)) == 3
    with pytest.raises(BodyTooLarge, match="at most 3 files"):
        await read_form(FORM, part * 4 + b"--x--\r\n", max_files=3)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("multipart/form-data", b"--x--\r\n"),
        ("multipart/form-data; boundary=", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nNo colon\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n--x--"),
    ],
)
async def test_form_that_is_none_is_refused(media_type: str, body: bytes) -> None:
    with pytest.raises(BadBody, match="expected multipart/form-data"):
        await read_form(Headers({"content-type": media_type}), body, max_files=2)
