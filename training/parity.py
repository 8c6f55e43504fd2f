"""Whether two sets of tensors are the same, within a tolerance; and running a graph. No module."""

from typing import Any

import numpy as np

from model_store.spec import Array, Tensors
from training.errors import ParityError


def difference(where: str, expected: Tensors, got: Tensors, tolerance: float) -> float:
    worst = 0.0
    for key, want in expected.items():
        have = got[key]
        if have.shape != want.shape:
            raise ParityError(f"{where}: {key} has shape {have.shape}, torch's {want.shape}")
        apart = gap(want, have)
        if not apart <= tolerance:
            raise ParityError(f"{where}: {key} is {apart:.2e} off; {tolerance:.0e} is allowed")
        worst = max(worst, apart)
    return worst


def gap(want: Array, have: Array) -> float:
    """Largest difference; relative where values exceed 1; a step of one is free for pixels."""
    apart = np.abs(want.astype(np.float64) - have.astype(np.float64))
    if want.dtype == np.uint8:
        apart = np.maximum(apart - 1, 0)  # a half can round either way
    return float((apart / np.maximum(1.0, np.abs(want))).max(initial=0.0))


def run(session: Any, feeds: Tensors) -> Tensors:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
