"""Carries out a plan: model by model, body by body, load by load."""

from collections.abc import Iterator
from functools import partial, reduce
from typing import TYPE_CHECKING

from service.bench.answers import Answers, ask
from service.bench.client import closed, open_loop
from service.bench.control import Control
from service.bench.errors import BenchError
from service.bench.load import Target
from service.bench.plan import Plan
from service.bench.servers import Process
from service.bench.split import Split
from service.bench.tensors import Inputs, draw, settle
from service.bench.windows import Cell, Window, measure

if TYPE_CHECKING:
    from service.bench.ceilings import Ceilings

WARM_UP_S = 0.5


class Bench:
    """One run of the command against one server; ``process`` where that is ours."""

    def __init__(
        self,
        plan: Plan,
        control: Control,
        process: Process | None = None,
        ceilings: "Ceilings | None" = None,
    ) -> None:
        self.plan, self.control = plan, control
        self.cells: list[Cell] = []
        """All that were begun. The last one may have few windows, or none."""
        self.notes: list[str] = []
        self._process, self._ceilings = process, ceilings

    @property
    def measured(self) -> list[Cell]:
        """The cells that have numbers."""
        return [cell for cell in self.cells if cell.windows]

    def run(self) -> Iterator[Cell]:
        """Yields each cell when it is done. Raises BenchError."""
        models = self.plan.models
        if not models:
            writers = self.control.writers()
            models = tuple(name for name in self.control.models() if name not in writers)
            if writers:
                self.notes.append(f"{', '.join(writers)}: measured with --generate")
        if not models:
            raise BenchError(f"{self.control.url} has no model ready")
        settled = [self._settle(model) for model in models]
        names = {one.name for inputs in settled for one in inputs.inputs}
        for name in self.plan.shapes:
            if name not in names:
                there = ", ".join(sorted(names))
                raise BenchError(f"--shape {name}: no input has that name; there are: {there}")
        for inputs in settled:
            yield from self._model(inputs)

    def _settle(self, model: str) -> Inputs:
        metadata = self.control.metadata(model) | {"name": model}
        return settle(metadata, self.plan.rows, self.plan.shapes)

    def _model(self, inputs: Inputs) -> Iterator[Cell]:
        plan, model = self.plan, inputs.model
        bodies = draw(inputs, plan.rotation, plan.seed, plan.integers_below)
        if self._ceilings:
            self._ceilings.take(inputs, bodies)
        for kind in plan.bodies:
            answers = ask(self.control, model, kind, inputs, bodies)
            if not answers.distinct:
                words = "answers to different requests are too alike to notice two that are swapped"
                self.notes.append(f"{model}, {kind}: {words}")
            peak_per_s = 0.0
            for connections in plan.concurrency:
                cell = Cell(model, kind, "concurrency", connections, inputs.rows)
                yield self._measure(cell, inputs, answers)
                peak_per_s = max(peak_per_s, *(w.take.requests_per_s for w in cell.last))
            for factor in plan.overloads:
                rate = factor * peak_per_s
                cell = Cell(model, kind, "rate", rate, inputs.rows, peak_per_s)
                yield self._measure(cell, inputs, answers)
            for rate in plan.rates:
                yield self._measure(Cell(model, kind, "rate", rate, inputs.rows), inputs, answers)

    def _measure(self, cell: Cell, inputs: Inputs, answers: Answers) -> Cell:
        self.cells.append(cell)
        self._look(cell, answers, min(WARM_UP_S, self.plan.window_s))
        looks = {}
        if self._ceilings and cell.kind == "concurrency":  # a given rate is nobody's most
            looks = self._ceilings.looks(cell, inputs, answers)
        look = partial(self._look, cell, answers, self.plan.window_s)
        measure(cell, look, looks, self.plan.max_windows)
        return cell

    def _look(self, cell: Cell, answers: Answers, window_s: float) -> Window:
        """One window of the server, and what the server says of it."""
        plan, control = self.plan, self.control
        target = Target(control.host, control.port, answers.exchanges, plan.timeout_s)
        before, cpu_s = self._split(cell.model), self._cpu_s()
        if cell.kind == "rate":
            take = open_loop(target, cell.load, window_s, plan.seed)
        else:
            take = closed(target, int(cell.load), window_s)
        used_s, after = self._cpu_s(), self._split(cell.model)
        cell.errors += take.errors + answers.check(take.samples)
        cell.checked += len(take.samples)
        take.samples.clear()
        return Window(
            take,
            after.since(before) if before and after else None,
            used_s - cpu_s if used_s is not None and cpu_s is not None else None,
        )

    def _split(self, model: str) -> Split | None:
        versions = [Split.of(one) for one in self.control.statistics(model)]
        return reduce(Split.and_also, versions) if versions else None

    def _cpu_s(self) -> float | None:
        return self._process.cpu_s() if self._process else None
