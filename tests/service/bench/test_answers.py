import numpy as np
import orjson
import pytest

from service.bench.answers import Answers, ask
from service.bench.control import Control
from service.bench.errors import BenchError
from service.bench.exchange import Exchange
from service.bench.tensors import Inputs, Tensors, draw, settle
from service.bench.wire import BodyKind
from tests.service.bench.toys import Doubler, Handler, serving


def asked(kind: BodyKind, bodies: list[Tensors] | None = None) -> Answers:
    with serving(Doubler()) as (host, port):
        control = Control(f"http://{host}:{port}")
        inputs = settle(control.metadata("doubler"), 1, {})
        return ask(control, "doubler", kind, inputs, bodies or draw(inputs, 8, 0, 9))


def response(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    """As a server would send them."""
    entry = {"name": "y", "datatype": "FP32", "shape": values.shape, "data": values.ravel()}
    body = orjson.dumps({"outputs": [entry]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def right(answers: Answers) -> list[tuple[Exchange, bytes]]:
    return [(one, response(answers.expected[one]["y"])) for one in answers.exchanges]


@pytest.mark.parametrize("kind", ["binary", "json"])
def test_each_body_is_asked_alone_and_its_answer_kept(kind: BodyKind) -> None:
    answers = asked(kind)
    assert len(answers.exchanges) == 8
    assert answers.distinct
    assert not answers.check(right(answers))
    for exchange, outputs in answers.expected.items():
        assert outputs["y"].shape == (1, 3)
        assert (exchange.commas is None) == (kind == "binary")


def test_two_answers_that_changed_places_are_noticed() -> None:
    answers = asked("json")
    (one, first), (other, second), *rest = right(answers)
    assert answers.check([(one, second), (other, first), *rest]) == {"wrong answer": 2}


def test_the_last_digits_may_differ_under_load() -> None:
    answers = asked("json")
    for factor, faults in ((1 + 1e-6, {}), (1.02, {"wrong answer": 8})):
        samples = [
            (one, response((answers.expected[one]["y"] * factor).astype(np.float32)))
            for one in answers.exchanges
        ]
        assert answers.check(samples) == faults


def test_a_missing_number_and_a_missing_output_are_wrong() -> None:
    answers = asked("json")
    one = answers.exchanges[0]
    values = answers.expected[one]["y"].copy()
    values[0, 1] = np.nan
    renamed = response(answers.expected[one]["y"]).replace(b'"y"', b'"z"')
    assert answers.check([(one, response(values)), (one, renamed)]) == {"wrong answer": 2}


def test_what_cannot_be_read_is_told_apart() -> None:
    answers = asked("json")
    one = answers.exchanges[0]
    faults = answers.check([(one, b"HTTP/1.1 200 OK\r\n\r\n{}")])
    assert faults == {"unreadable answer": 1}


def test_answers_that_are_all_alike_are_said_to_be() -> None:
    same = [{"x": np.ones((1, 3), np.float32)}, {"x": np.full((1, 3), 1 + 1e-6, np.float32)}]
    assert not asked("binary", same).distinct


def test_a_request_that_the_model_refuses_is_one_clear_line() -> None:
    def refuse(handler: Handler, _: bytes) -> None:
        handler.answer(b'{"error": "index 9\\nout of range"}', 422)

    inputs: Inputs = settle({"name": "m", "inputs": []}, 1, {})
    with serving(refuse) as (host, port), pytest.raises(BenchError) as caught:
        ask(Control(f"http://{host}:{port}"), "m", "json", inputs, [{}])
    assert str(caught.value).startswith("model m refuses a request: 422 index 9 out of range (--s")
