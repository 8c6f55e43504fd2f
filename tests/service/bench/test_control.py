import pytest

from service.bench.control import Control
from service.bench.errors import BenchError
from tests.service.bench.toys import Doubler, Handler, free_port, serving


@pytest.mark.parametrize(
    "url", ["localhost:8000", "https://localhost", "http://", "http://host:port", "http://h:0"]
)
def test_an_address_that_no_load_can_go_to_is_refused(url: str) -> None:
    with pytest.raises(BenchError, match=r"expected http://HOST:PORT"):
        Control(url)


def test_an_address_may_have_a_path_before_that_of_the_protocol() -> None:
    control = Control("http://host:80/models/")
    assert (control.host, control.port, control.prefix) == ("host", 80, "/models")


def test_a_server_tells_its_models_and_what_they_take() -> None:
    with serving(Doubler()) as (host, port):
        control = Control(f"http://{host}:{port}/")
        assert control.models() == ["doubler"]
        assert control.metadata("doubler")["inputs"][0]["name"] == "x"
        assert control.statistics("doubler")[0]["name"] == "doubler"
        with pytest.raises(BenchError, match=r"model other: .* says 404 no model of that name"):
            control.metadata("other")
        assert control.statistics("other") == []


def test_headers_go_with_every_request() -> None:
    toy = Doubler()
    with serving(toy) as (host, port):
        Control(f"http://{host}:{port}", {"authorization": "Bearer key"}).metadata("doubler")
    assert toy.headers[0]["authorization"] == "Bearer key"


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(BenchError, match=f"cannot reach {url}: Connection refused"):
        Control(url).models()


def test_a_server_that_lists_nothing_asks_for_names() -> None:
    def refuse(handler: Handler, _: bytes) -> None:
        handler.answer(b"Not Found", 404)

    with (
        serving(refuse) as (host, port),
        pytest.raises(BenchError, match=r"does not list its models \(404 Not Found\); name some"),
    ):
        Control(f"http://{host}:{port}").models()
