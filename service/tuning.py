"""What is learned of a graph when it is loaded: whether its rows may share a run, and how it runs
best on this machine. Kept in a file for each graph, ONNX Runtime and processor. Knows no queue.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from model_store.spec import Array, Tensors
from service.errors import OutOfMemory

log = logging.getLogger(__name__)

SCHEMA = 3
"""Raised when what is learned, or from what, changes: files of an older one are not read."""
INLINE_ROW_S = 0.0004
"""One row faster than this is run on the event loop: handing it to a thread costs as much."""
INLINE_BATCH_S = 0.0005
"""The event loop is not held longer than this by one batch: callers read their answers to one batch
while the next one runs.
"""
SWEEP_S = 1.5
"""No further batch size is tried after this."""
LEAST_S = 0.02
"""Each size is run at least this long, and at least twice."""
GAIN = 1.01
"""A second session, which costs the weights once more, has to pay. It need not pay much: a run on
all cores waits for the slowest of them, which the event loop and callers hold up.
"""
QUIET = 0.85
"""Side by side, the cores were ours for at least this share of the time."""
NEAR = 0.97
"""The smallest batch that comes this close to the best rate is taken: it answers sooner."""

Run = Callable[[Tensors], Tensors]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a graph runs best."""

    rows: int
    """Rows in one run at most."""
    inline: bool = False
    """A run is so short that it happens on the event loop."""
    side_by_side: bool = False
    """Under load, a single-threaded run on each core beats one run that has them all."""
    reason: str = ""
    """Why rows must not share a run; empty where they may."""
    rows_per_s: float = 0.0
    """The best rate that was measured."""
    quiet: bool = True
    """The machine had nothing else to do meanwhile, so the measurement is worth keeping."""


# --- may rows share a run? ---------------------------------------------------------------------


def why_not_batch(run: Run, row: Tensors) -> str:
    """Runs 1, 2 and 3 different rows, alone and together; the reason not to batch, or "".

    ``row`` is one row that works. A graph that gives a row another answer in company (one quantised
    dynamically, say, or with a mean over the batch) is found here and not by a caller.
    """
    rows = [_varied(row, turn) for turn in range(3)]
    alone = _each(run, rows)
    if alone is None:  # it takes few other inputs than the example
        rows = [row] * 3
        alone = [run(row) for row in rows]
    if not _close(run(rows[0]), alone[0]):
        return ""  # it draws random numbers: no answer can be compared with another
    for size in (1, 2, 3):
        joined = {name: np.concatenate([one[name] for one in rows[:size]]) for name in row}
        try:
            together = run(joined)
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not batch
            return f"it fails on {size} rows ({_brief(error)})"
        reason = _difference(together, alone[:size])
        if reason:
            return reason
    return ""


def _difference(together: Tensors, alone: Sequence[Tensors]) -> str:
    size = len(alone)
    for name, array in together.items():
        if array.ndim == 0 or len(array) != size:
            return f"output {name} has shape {list(array.shape)} for {size} rows"
    for place in range(size):
        own = {name: array[place : place + 1] for name, array in together.items()}
        if not _close(own, alone[place]):
            return f"a row's answer among {size} differs from its answer alone"
    return ""


def _varied(row: Tensors, turn: int) -> Tensors:
    """The same row with its cells in another order, and floats in another size: valid wherever the
    cells of an axis are alike, as pixels and tokens are.
    """
    return {
        name: np.roll(array * array.dtype.type(1 - turn / 8), turn, axis=-1)
        if array.dtype.kind == "f"
        else np.roll(array, turn, axis=-1) if array.ndim > 1 else array
        for name, array in row.items()
    }  # fmt: skip


def _each(run: Run, rows: Sequence[Tensors]) -> list[Tensors] | None:
    try:
        return [run(row) for row in rows]
    except Exception:  # noqa: BLE001 - the varied rows may be no input of this graph
        return None


def _close(left: Tensors, right: Tensors) -> bool:
    return all(_same(left[name], array) for name, array in right.items())


def _same(left: Array, right: Array) -> bool:
    if left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        step = 1 if left.dtype == np.uint8 else 0  # a picture's rounding may fall either way
        return bool(np.all(left == right)) or (
            step > 0 and int(np.abs(left.astype(int) - right.astype(int)).max(initial=0)) <= step
        )
    half = left.dtype == np.float16
    size = float(np.max(np.abs(right[np.isfinite(right)]), initial=0.0))
    return bool(
        np.allclose(
            left, right, rtol=0.02 if half else 1e-3,
            atol=(1e-2 if half else 1e-4) * max(size, 1e-6), equal_nan=True,
        )
    )  # fmt: skip


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


# --- how does it run best? ---------------------------------------------------------------------


def sweep(
    alone: Run, single: Run, row: Tensors, *, cores: int, max_rows: int, inline: bool
) -> Tuning:  # fmt: skip
    """Times growing batches. ``alone`` has all ``cores`` for itself, ``single`` one of them;
    ``inline`` allows runs on the event loop.
    """
    end = time.monotonic() + SWEEP_S
    first = _seconds(single, row, 1)
    if inline and first <= INLINE_ROW_S:
        return _inline(single, row, first, max_rows)
    together: dict[int, float] = {}
    apart: dict[int, float] = {}
    shares: list[float] = []
    rows, flat = 1, 0
    while rows <= max_rows and flat < 2 and (rows == 1 or time.monotonic() < end):
        best = max([*together.values(), *apart.values()], default=0.0)
        try:
            together[rows] = rows / _seconds(alone, row, rows)
            if cores > 1:
                seconds, share = _seconds_side_by_side(single, row, rows, cores)
                apart[rows] = cores * rows / seconds
                shares.append(share)
        except OutOfMemory:
            break
        flat = flat + 1 if max(together[rows], apart.get(rows, 0.0)) < 1.03 * best else 0
        rows *= 2
    pays = max(apart.values(), default=0.0) > GAIN * max(together.values())
    rates = apart if pays else together
    best = max(rates.values())
    smallest = min(rows for rows, rate in rates.items() if rate >= NEAR * best)
    quiet = not shares or sum(shares) / len(shares) >= QUIET
    return Tuning(smallest, side_by_side=pays, rows_per_s=round(best, 1), quiet=quiet)


def _inline(single: Run, row: Tensors, seconds: float, max_rows: int) -> Tuning:
    """The largest batch that does not hold the event loop too long."""
    rows, rate = 1, 1 / seconds
    while rows * 2 <= max_rows:
        spent = _seconds(single, row, rows * 2)
        if spent > INLINE_BATCH_S:
            break
        rows *= 2
        rate = max(rate, rows / spent)
    return Tuning(rows, inline=True, rows_per_s=round(rate, 1))


def _repeated(row: Tensors, rows: int) -> Tensors:
    return {name: np.repeat(array, rows, axis=0) for name, array in row.items()}


def _seconds(run: Run, row: Tensors, rows: int) -> float:
    """The best of several runs: what others did to the machine meanwhile is no part of it."""
    batch = _repeated(row, rows)
    run(batch)
    spent: list[float] = []
    while len(spent) < 2 or sum(spent) < LEAST_S:
        start = time.perf_counter()
        run(batch)
        spent.append(time.perf_counter() - start)
    return min(spent)


def _seconds_side_by_side(
    run: Run, row: Tensors, rows: int, callers: int
) -> tuple[float, float]:  # fmt: skip
    """One run among ``callers`` at once, and the share of their cores that they had.

    The lower quartile: not the best run, which may have been alone, nor what others disturbed.
    """
    batch = _repeated(row, rows)
    run(batch)
    start = threading.Barrier(callers)

    def call(_: int) -> tuple[list[float], float]:
        start.wait()
        own: list[float] = []
        busy_s = time.thread_time()
        while len(own) < 3 or sum(own) < LEAST_S:
            clock = time.perf_counter()
            run(batch)
            own.append(time.perf_counter() - clock)
        return own, (time.thread_time() - busy_s) / sum(own)

    with ThreadPoolExecutor(callers) as pool:
        found = list(pool.map(call, range(callers)))
    spent = sorted(second for own, _ in found for second in own)
    return spent[len(spent) // 4], sum(share for _, share in found) / callers


# --- remembering it ----------------------------------------------------------------------------


def key(*parts: object) -> str:
    """What the measurement depends on, as a file's name."""
    return hashlib.sha256(repr((SCHEMA, *parts)).encode()).hexdigest()[:32]


class Notebook:
    """A folder of what was learned. One that cannot be read or written is done without."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "tuning"

    @property
    def _folder(self) -> Path:
        return self._place.expanduser()  # raises RuntimeError for a user without a home

    def read(self, key: str) -> Tuning | None:
        try:
            return _whole(Tuning(**json.loads((self._folder / f"{key}.json").read_bytes())))
        except (OSError, ValueError, TypeError, RuntimeError):
            return None

    def write(self, key: str, tuning: Tuning) -> None:
        name = f".{key}.{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh = self._folder / name
            fresh.write_text(json.dumps(asdict(tuning)))
            fresh.replace(self._folder / f"{key}.json")
        except (OSError, RuntimeError) as error:
            log.info("what was measured is not kept: %s", error)
            with contextlib.suppress(OSError, RuntimeError):
                (self._folder / name).unlink()


def _whole(found: Tuning) -> Tuning:
    """Raises TypeError, ValueError for what :meth:`Notebook.write` never wrote."""
    for field in fields(found):
        if type(getattr(found, field.name)) is not field.type:
            raise TypeError(f"{field.name} is no {field.type}")
    if found.rows < 1:
        raise ValueError(f"{found.rows} rows")
    return found
