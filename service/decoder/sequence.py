"""One text in the making: what was asked, how far it is, and what its caller is told."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from model_store.spec import Tensors
from service.decoder.beams import Beams
from service.decoder.speech import Speech
from service.schema import Priority

_numbers = itertools.count()
COLD = 1e-5
"""Below this temperature only the likeliest would ever be drawn, and the numbers overflow."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen; see :class:`model_store.answers.text.SamplingParameters`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logprobs: int | None = None
    beams: int = 1
    length_penalty: float = 1.0

    @property
    def greedy(self) -> bool:
        return self.temperature < COLD or self.top_k == 1

    @property
    def plain(self) -> bool:
        """The likeliest token and nothing else."""
        return self.greedy and self.repetition_penalty == 1 and self.logprobs is None


class TokenScore(NamedTuple):
    """A token's text and the logarithm of its probability, with the likeliest ones beside it.
    ``offset`` is where its text begins in all that was said.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    offset: int = 0


class Delta(NamedTuple):
    """What one step added: ``tokens`` chosen, ``text`` that is certain by now. The last one of a
    sequence has a ``finish_reason``.
    """

    tokens: int
    text: str
    finish_reason: str | None = None
    scores: tuple[TokenScore, ...] = ()


Sink: TypeAlias = Callable[[Delta | Exception], None]
"""Told on the event loop; an exception is the last thing it is told."""


@dataclass(slots=True, eq=False)
class Sequence:
    """``limit`` tokens at most are said. Only the decoder's thread writes what stands below
    ``cancelled``.
    """

    prompt: list[int]
    limit: int
    sampling: Sampling
    deadline: float
    speech: Speech
    sink: Sink
    priority: Priority = Priority.NORMAL
    seed: int = 0
    source: Tensors = field(default_factory=dict)
    """What the source's graph made of it, one row each."""
    arrived: float = field(default_factory=time.monotonic)
    number: int = field(default_factory=lambda: next(_numbers))
    cancelled: bool = False
    """Set by whoever gives it up, seen before the next step."""
    said: list[int] = field(default_factory=list)
    read: int = 0
    """Tokens of the prompt whose keys and values are in the cache."""
    rows: list[int] = field(default_factory=list)
    """Its rows of the cache: one, or one a beam."""
    beams: Beams | None = None
    queue_s: float = -1.0
    """How long it waited for a row; below zero while it waits."""
    told: float = 0.0
    """When its caller was last told something, on the monotonic clock."""
    ended: bool = False
    """Its caller was told its end, and is told nothing more."""
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        # Philox numbers depend on the seed and the step alone, not on who else draws.
        self.rng = np.random.Generator(np.random.Philox(self.seed))

    @property
    def unread(self) -> int:
        return len(self.prompt) - self.read

    @property
    def width(self) -> int:
        """Rows of the cache it needs."""
        return self.sampling.beams

    @property
    def most_tokens(self) -> int:
        """Places of the cache that it can come to need, on all its rows."""
        return (len(self.prompt) + self.limit) * self.width
