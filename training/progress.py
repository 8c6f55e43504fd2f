"""How runs look while they run: a bar each with loss and time left, or lines where no one watches.

A run speaks to a ``Reporter``; in the same process that is a ``Line`` of the ``Board``, from a
process of its own a ``Remote``, whose messages the board's process passes on.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0
MESSAGE_EVERY_S = 0.2


class Reporter(Protocol):
    """Who a run tells how it goes."""

    def start(self, label: str, steps: int) -> None:
        """A fit of so many steps begins."""

    def advance(self, loss: float, validation: float | None, steps: int = 1) -> None:
        """So many steps more are done."""

    def stop(self, note: str) -> None:
        """The fit is over."""

    def say(self, words: str) -> None:
        """Anything else worth a line."""


class Board:
    """One terminal for any number of runs. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lines: dict[str, Line] = {}
        self._bars = Progress(
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[words]:<36}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Board":
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def line(self, name: str) -> "Line":
        """The run's own line, made at first use."""
        if name not in self._lines:
            self._lines[name] = Line(name, self.console, self._bars)
        return self._lines[name]


class Line:
    """One run on the board: a bar in a terminal; elsewhere a line of text every few seconds."""

    def __init__(self, name: str, console: Console, bars: Progress) -> None:
        self.name, self._console, self._bars = name, console, bars
        self._task: TaskID | None = None
        self._label, self._steps, self._done = name, 0, 0
        self._started = self._spoken = 0.0

    def start(self, label: str, steps: int) -> None:
        self._label = f"{self.name} {label}".rstrip()
        self._steps, self._done = steps, 0
        self._started = self._spoken = time.monotonic()
        if self._console.is_terminal:
            self._task = self._bars.add_task(self._label, total=steps, words="")

    def advance(self, loss: float, validation: float | None, steps: int = 1) -> None:
        self._done += steps
        words = f"loss {loss:.4f}"
        if validation is not None:
            words += f"  validation {validation:.4f}"
        if self._task is not None:
            self._bars.update(self._task, advance=steps, words=words)
            return
        now = time.monotonic()
        if now - self._spoken >= LINE_EVERY_S:
            self._spoken = now
            left = (now - self._started) / self._done * (self._steps - self._done)
            share = 100 * self._done / max(1, self._steps)
            self._print(f"{self._label:<32} {share:3.0f} %  {words}  {left:.0f} s left")

    def stop(self, note: str) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        self._print(f"{self._label:<32} {note}, {time.monotonic() - self._started:.0f} s")

    def say(self, words: str) -> None:
        self._print(words)

    def _print(self, words: str) -> None:
        self._console.print(words, highlight=False, markup=False, soft_wrap=True)


Send = Callable[[tuple[str, str, tuple[Any, ...]]], None]


class Remote:
    """Speaks for a run in another process: sends ``(run, method, arguments)``, not too often."""

    def __init__(self, name: str, send: Send) -> None:
        self._name, self._send = name, send
        self._steps, self._sent = 0, 0.0

    def start(self, label: str, steps: int) -> None:
        self._steps = 0
        self._send((self._name, "start", (label, steps)))

    def advance(self, loss: float, validation: float | None, steps: int = 1) -> None:
        self._steps += steps
        now = time.monotonic()
        if now - self._sent >= MESSAGE_EVERY_S:
            self._send((self._name, "advance", (loss, validation, self._steps)))
            self._steps, self._sent = 0, now

    def stop(self, note: str) -> None:
        self._send((self._name, "stop", (note,)))

    def say(self, words: str) -> None:
        self._send((self._name, "say", (words,)))
