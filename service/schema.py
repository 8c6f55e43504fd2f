"""What travels between protocols, hub, lanes and batcher. Plain data, no behaviour, no wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from model_store.spec import Tensors

VersionKey: TypeAlias = tuple[str, int]
"""A model's name and the number of a version."""


class Priority(Enum):
    """Head start in the queue, in seconds. A low request overtakes normal ones that came this much
    later, so nothing starves.
    """

    HIGH = 5.0
    NORMAL = 0.0
    LOW = -5.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, whatever protocol it came by. ``deadline`` is on the monotonic clock."""

    ref: str
    verb: str
    items: list[object]
    parameters: Mapping[str, object]
    deadline: float
    priority: Priority = Priority.NORMAL
    body_bytes: int = 0
    copies: int = 1
    """Each item is answered so many times, with seeds that follow one another; only where answers
    are said token by token. The answer's place is ``item * copies + copy``.
    """


@dataclass(slots=True)
class Delivered:
    """What a batch gave for one entry: its own rows only, and where its time went."""

    tensors: Tensors
    queue_s: float
    compute_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer per item, in order."""

    model: str
    version: int
    outputs: list[dict[str, Any]]
    queue_s: float
    compute_s: float
    tokens: int = 0
    """Tokens of text that were read; 0 for items of other kinds."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One run of a graph, told to whoever keeps the statistics."""

    rows: int
    compute_s: float
    queue_s: list[float] = field(default_factory=list)
    """How long each entry that begins in this batch had waited."""
    failed: bool = False
