"""What to measure: one field per option of the command."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.bench.wire import BodyKind


@dataclass(frozen=True)
class Plan:
    """Every model under every load with every kind of body."""

    models: tuple[str, ...]
    """Names in the protocol; none for all that the server has ready."""
    concurrency: tuple[int, ...] = (1, 16, 64)
    overloads: tuple[float, ...] = ()
    """Rates as multiples of the best that a closed loop reached."""
    rates: tuple[float, ...] = ()
    """Requests a second."""
    bodies: tuple[BodyKind, ...] = ("binary", "json")
    window_s: float = 2.0
    max_windows: int = 10
    rows: int = 1
    seed: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    integers_below: int = 100
    timeout_s: float = 30.0
    rotation: int = 8
    """Different requests that take turns, so that no cache answers and no mix-up hides."""
