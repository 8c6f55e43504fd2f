"""How a run looks while it runs: a bar with loss and time left, or lines where no one watches."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class Bar:
    """A progress bar in a terminal; elsewhere a line every few seconds."""

    def __init__(self, name: str, console: Console) -> None:
        self.name, self.console = name, console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._label, self._steps, self._done = name, 0, 0
        self._started = self._spoken = 0.0

    def start(self, label: str, steps: int) -> None:
        self._label = f"{self.name} {label}".rstrip()
        self._steps, self._done = steps, 0
        self._started = self._spoken = time.monotonic()
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(bar_width=30),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[words]:<34}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(self._label, total=steps, words="")
            self._bar.start()

    def advance(self, loss: float, validation: float | None) -> None:
        self._done += 1
        words = f"loss {loss:.4f}"
        if validation is not None:
            words += f"  validation {validation:.4f}"
        if self._bar:
            self._bar.update(self._task, advance=1, words=words)
            return
        now = time.monotonic()
        if now - self._spoken >= LINE_EVERY_S:
            self._spoken = now
            left = (now - self._started) / self._done * (self._steps - self._done)
            share = 100 * self._done / max(1, self._steps)
            self.say(f"{share:3.0f} %  {words}  {left:.0f} s left")

    def stop(self, note: str) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
        self.say(f"{note}, {time.monotonic() - self._started:.0f} s")

    def say(self, words: str) -> None:
        self.console.print(f"{self._label:<28} {words}", highlight=False, markup=False)
