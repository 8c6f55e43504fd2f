"""What the right answers are, and whether a response is one of them.

Each body is asked alone first. Under load its answer may differ in the last digits, because the
kernels of a bigger batch add in another order; it must not come near another body's answer.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from service.bench.control import Control, model_path
from service.bench.errors import BenchError
from service.bench.exchange import Exchange, body_of, post, read_headers
from service.bench.tensors import Array, Inputs, Tensors
from service.bench.wire import BodyKind, decode, encode

MAX_DIFFERENCE = 1e-3
"""Relative to an output's largest value; a GPU's shortened floats stay below it."""
MIN_DIFFERENCE = 1e-5
"""What another order of additions alone may do."""
APART = 4
"""Answers that are nearer than this many tolerances cannot be told apart."""


@dataclass(frozen=True)
class Answers:
    """Requests of one kind of body and the answers each had when it was alone."""

    exchanges: tuple[Exchange, ...]
    expected: dict[Exchange, Tensors]
    scales: dict[str, float]
    tolerance: float
    distinct: bool
    """Answers lie far enough apart to notice when two requests get each other's."""

    def check(self, samples: list[tuple[Exchange, bytes]]) -> Counter[str]:
        """What is wrong with whole responses, counted."""
        faults: Counter[str] = Counter()
        for exchange, response in samples:
            try:
                outputs = decode(read_headers(response), body_of(response))
                wrong = not self._agrees(self.expected[exchange], outputs)
            except (ValueError, KeyError, TypeError):
                faults["unreadable answer"] += 1
            else:
                faults["wrong answer"] += wrong
        return +faults

    def _agrees(self, expected: Tensors, outputs: Tensors) -> bool:
        return _distance(expected, outputs, self.scales) <= self.tolerance


def ask(
    control: Control, model: str, kind: BodyKind, inputs: Inputs, bodies: list[Tensors]
) -> Answers:
    """Ask for each body's answer, one at a time. Raises BenchError where one is refused."""
    path = f"{model_path(model)}/infer"
    expected = {}
    for tensors in bodies:
        headers, body = encode(kind, inputs, tensors)
        reply = control.call("POST", path, body, headers)
        if reply.status != 200:
            raise BenchError(
                f"model {model} refuses a request: {reply.reason}"
                " (--shape, --rows and --integers-below change what is sent)"
            )
        try:
            outputs = decode(reply.headers, reply.body)
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"model {model}: the answer is not of the protocol: {error}") from None
        commas = reply.body.count(b",") if kind == "json" else None
        request = post(control.netloc, control.prefix + path, control.headers | headers, body)
        expected[Exchange(request, len(reply.body), commas)] = outputs
    return _settled(expected)


def _settled(expected: dict[Exchange, Tensors]) -> Answers:
    answers = list(expected.values())
    scales = {
        name: max(float(np.abs(_finite(answer[name])).max(initial=0)) for answer in answers) or 1.0
        for name in answers[0]
    }
    pairs = [(a, b) for place, a in enumerate(answers) for b in answers[:place]]
    nearest = min((_distance(a, b, scales) for a, b in pairs), default=np.inf)
    tolerance = float(np.clip(nearest / APART, MIN_DIFFERENCE, MAX_DIFFERENCE))
    return Answers(
        tuple(expected), expected, scales, tolerance, distinct=nearest > tolerance * APART / 2
    )


def _distance(a: Tensors, b: Tensors, scales: dict[str, float]) -> float:
    """The largest difference of any value, in units of its output's scale."""
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        return np.inf
    return max(
        float(np.abs(_finite(a[name]) - _finite(b[name])).max(initial=0)) / scales[name]
        for name in a
    )


def _finite(array: Array) -> Array:
    """As numbers that can be subtracted."""
    return np.nan_to_num(array.astype(np.float64), nan=2e30, posinf=1e30, neginf=-1e30)
