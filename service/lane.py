"""One loaded graph of a version: its runners, what was learned of it, and the batcher in front."""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from model_store.bundle import Bundle, entry_of
from model_store.manifest import ANY_SHAPE, Graph
from model_store.onnx_file import read_signature
from model_store.spec import Array, Tensors
from service import tuning
from service.batcher import Batcher
from service.devices import CUDA, cuda_of
from service.entry import Done, Entry, Way
from service.errors import NotReady
from service.ground import Ground
from service.runner import VERSION, Runner, cpu_name, gpu_names
from service.schema import BatchReport, Delivered, Priority
from service.settings import Settings
from service.traced import TracedBatcher
from service.tuning import Notebook, Tuning

Lengths = Mapping[str, int]
"""Dynamic axis → how long it was before it was padded."""


class Lane:
    """Takes rows of any shape the graph allows; pads them where the manifest says it may."""

    def __init__(
        self, bundle: Bundle, graph_name: str, row: Tensors, *, ground: Ground,
        tell: Callable[[BatchReport], None], guessed: bool = False,
    ) -> None:  # fmt: skip
        """Load the graph, learn how it runs best and warm it up with ``row``: one row that works
        or, where the graph has no row axis, the whole input. Where the row was ``guessed`` and does
        not work, the graph is served untried. Raises NotReady, CorruptBundle, or what the row's
        failure was.
        """
        settings, cores = ground.settings, ground.cores
        self.graph: Graph = bundle.manifest.graphs[graph_name]
        self.path = bundle.path(self.graph.file)
        self._device, self._cuda = ground.device, cuda_of(settings)
        laps = [time.monotonic()]
        self.runner = self._open(cores)
        self._single: Runner | None = None
        self._whole = False
        laps.append(time.monotonic())
        try:
            untried = self._why_untried(row) if guessed else ""
            self.tuning = (
                Tuning(1, reason=untried) if untried else self._learn(bundle, row, settings, cores)
            )
            if self.tuning.reason and not untried:
                self._whole = self._runs_whole(fit_all(row, self.graph, self._buckets()[-1]))
            self._choose_runners(cores)
            laps.append(time.monotonic())
            if not untried:
                self._warm_up(row)
        except BaseException:
            self._free()
            raise
        laps.append(time.monotonic())
        self.seconds = dict(zip(("load", "tune", "warm_up"), np.diff(laps).tolist(), strict=True))
        """How long each phase of loading took."""
        single = self._single
        make = partial(TracedBatcher, ground.tracing) if ground.tracing else Batcher
        self.batcher: Batcher = make(
            Way(self.runner.run, self.runner.threads),
            shared=Way(single.run, 1) if single else None,
            name=f"{bundle.manifest.name}@{bundle.manifest.version}~{graph_name}",
            loop=ground.loop,
            workers=0 if self.tuning.inline else cores if single else 1,
            turns=ground.turns,
            batches=self.has_rows,
            max_rows=self.tuning.rows,
            max_queue_rows=settings.max_queue_rows,
            delay_s=settings.batch_delay_ms / 1000,
            tell=tell,
        )

    @property
    def has_rows(self) -> bool:
        """The first axis of every tensor is the row. Without one, an input is run as it came."""
        return self.graph.batching.rows and not self._whole

    @property
    def batches(self) -> bool:
        """Rows of several requests may share a run."""
        return self.has_rows and not self.why_not

    @property
    def why_not(self) -> str:
        """Why rows do not share a run; empty where they do."""
        return self.graph.batching.reason or self.tuning.reason

    # --- answering -----------------------------------------------------------------------------

    def submit(self, tensors: Tensors, deadline: float, done: Done, priority: Priority) -> Entry:
        """Queue rows that :meth:`pad` made of one shape. Raises Overloaded, NotReady."""
        return self.batcher.submit(tensors, deadline, done, priority)

    def ask(
        self, tensors: Tensors, deadline: float, priority: Priority
    ) -> "asyncio.Future[Delivered]":
        """The same for those who await. Cancel the future to give up."""
        future: asyncio.Future[Delivered] = asyncio.get_running_loop().create_future()

        def done(outcome: Delivered | Exception) -> None:
            if future.done():
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        entry = self.submit(tensors, deadline, done, priority)
        future.add_done_callback(lambda _: self.batcher.cancel(entry))
        return future

    def pad(self, tensors: Tensors) -> tuple[Tensors, Lengths]:
        """Zeros up to the next length on each axis that may be padded, so that shapes meet."""
        rules = self.graph.batching.pad
        if not rules:
            return tensors, {}
        lengths = {
            label: tensors[spec.name].shape[axis]
            for spec in self.graph.inputs
            for axis, label in enumerate(spec.shape)
            if isinstance(label, str) and label in rules
        }
        goals = {
            label: next((step for step in rules[label] if step >= size), size)
            for label, size in lengths.items()
        }
        return {
            spec.name: fit(tensors[spec.name], spec.shape, goals) for spec in self.graph.inputs
        }, lengths

    def crop(self, outputs: Tensors, lengths: Lengths) -> Tensors:
        """Outputs without what the padding added to them."""
        if not lengths:
            return outputs
        shapes = {spec.name: spec.shape for spec in self.graph.outputs}
        return {name: fit(array, shapes[name], lengths) for name, array in outputs.items()}

    def close(self, *, timeout_s: float) -> None:
        """Finish what is queued, then free the graph. Not on the event loop."""
        self.batcher.close(timeout_s=timeout_s)
        if self.batcher.idle:
            self._free()

    # --- loading -------------------------------------------------------------------------------

    def _why_untried(self, row: Tensors) -> str:
        """A graph with axes of any length may take few of them, and nobody said which."""
        try:
            self.runner.run(row)
        except Exception as error:  # noqa: BLE001 - whatever it raises, callers may know better
            words = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            return f"it could not be tried: it fails on an input of zeros ({words})"
        return ""

    def _learn(self, bundle: Bundle, row: Tensors, settings: Settings, cores: int) -> Tuning:
        cap = min(self.graph.batching.max_rows, settings.max_batch_rows)
        if not self.graph.batching.rows:
            return Tuning(1)
        if not settings.tune:
            reason = tuning.why_not_batch(self.runner.run, row)
            return Tuning(1 if reason else cap, reason=reason)
        digest = bundle.manifest.files[self.graph.file].sha256 or entry_of(self.path).sha256
        on_gpu = self.runner.provider == CUDA
        machine = (cpu_name(), gpu_names(), self._cuda) if on_gpu else (cpu_name(),)
        key = tuning.key(digest, VERSION, self.runner.provider, *machine, cores, cap)
        notebook = Notebook(settings.cache)
        found = notebook.read(key)
        if found is None:
            found = self._measure(fit_all(row, self.graph, self._buckets()[-1]), cap, cores)
            if found.quiet:
                notebook.write(key, found)
        return found

    def _measure(self, row: Tensors, cap: int, cores: int) -> Tuning:
        reason = tuning.why_not_batch(self.runner.run, row)
        if self.runner.provider == CUDA:
            if reason:
                return Tuning(1, reason=reason)
            run = self.runner.run
            return tuning.sweep(run, run, row, cores=1, max_rows=cap, inline=False)
        single = self.runner if cores == 1 else self._open(1)
        try:
            found = tuning.sweep(
                self.runner.run, single.run, row, cores=cores, max_rows=1 if reason else cap,
                inline=self._takes_constant_time(),
            )  # fmt: skip
        finally:
            if single is not self.runner:
                single.close()
        return dataclasses.replace(found, reason=reason)

    def _takes_constant_time(self) -> bool:
        """The example's time is every input's: no axis of any length, no loop in the graph."""
        rules = self.graph.batching.pad
        axes = [axis for spec in self.graph.inputs for axis in spec.shape[1:]]
        if not all(isinstance(axis, int) or axis in rules for axis in axes):
            return False
        operators = {kind for _, kind in read_signature(self.path).operators}
        return not operators & {"Loop", "Scan", "If"}

    def _choose_runners(self, cores: int) -> None:
        if cores == 1 or self.runner.provider == CUDA:
            return
        if self.tuning.inline:
            self.runner.close()
            self.runner = self._open(1)
        elif self.tuning.side_by_side:
            self._single = self._open(1)

    def _warm_up(self, row: Tensors) -> None:
        """Run one row and a full batch in every bucket, so that no caller is the first."""
        for lengths in self._buckets():
            tensors = fit_all(row, self.graph, lengths)
            for rows in {1, self.tuning.rows} if self.has_rows else {1}:
                batch = tensors
                if self.has_rows:
                    batch = {name: np.repeat(array, rows, axis=0) for name, array in batch.items()}
                for runner in (self.runner, self._single):
                    if runner:
                        self._check(runner.run(batch))

    def _check(self, outputs: Tensors) -> None:
        """Raises NotReady where an output is not as declared."""
        for spec in self.graph.outputs:
            array, shape = outputs[spec.name], spec.shape
            if shape == (ANY_SHAPE,):
                continue
            fixed = [(at, size) for at, size in enumerate(shape) if isinstance(size, int)]
            if array.ndim != len(shape) or any(array.shape[at] != size for at, size in fixed):
                raise NotReady(
                    f"{self.path.name}: output {spec.name} is declared as {list(shape)};"
                    f" a run gives {list(array.shape)}"
                )

    def _runs_whole(self, row: Tensors) -> bool:
        """Some output's first axis is not the row, so no part of it is a single row's."""
        for rows in (1, 2, 3):
            batch = {name: np.repeat(array, rows, axis=0) for name, array in row.items()}
            try:
                outputs = self.runner.run(batch)
            except Exception:  # noqa: BLE001 - it takes no such batch; nothing is learned from it
                return False
            if any(array.ndim == 0 or len(array) != rows for array in outputs.values()):
                return True
        return False

    def _buckets(self) -> list[dict[str, int]]:
        rules = self.graph.batching.pad
        lengths = itertools.product(*rules.values())
        return [dict(zip(rules, choice, strict=True)) for choice in lengths]

    def _open(self, threads: int) -> Runner:
        outputs = [spec.name for spec in self.graph.outputs]
        return Runner(self.path, outputs, device=self._device, threads=threads, cuda=self._cuda)

    def _free(self) -> None:
        self.runner.close()
        if self._single:
            self._single.close()


def fit_all(tensors: Tensors, graph: Graph, lengths: Lengths) -> Tensors:
    """Every input with its named axes cut or zero-padded to the given lengths."""
    return {spec.name: fit(tensors[spec.name], spec.shape, lengths) for spec in graph.inputs}


def fit(array: Array, shape: tuple[int | str, ...], lengths: Lengths) -> Array:
    """Cut or zero-pad the named axes to the given lengths."""
    for axis, label in enumerate(shape):
        length = lengths.get(label, array.shape[axis]) if isinstance(label, str) else None
        if length is None or length == array.shape[axis]:
            continue
        if length < array.shape[axis]:
            array = array.take(range(length), axis=axis)
        else:
            widths = [
                (0, length - n if place == axis else 0) for place, n in enumerate(array.shape)
            ]
            array = np.pad(array, widths)
    return array
