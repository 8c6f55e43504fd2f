"""Loads that a test counts, holds, weighs and fails."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from model_store.bundle import Bundle
from model_store.manifest import Draft
from service.ground import Ground
from service.loaded import LoadedModel, load
from service.telemetry import Telemetry
from tests.service.bundles import sensor
from tests.service.workbench import PATIENCE_S

MB = 1_000_000


class Loads:
    """Stands where ``load`` is called; what it gives is really loaded."""

    def __init__(self) -> None:
        self.refs: list[str] = []
        """Every version whose load has begun."""
        self.memory_bytes: dict[str, int] = {}
        """Name → what it is said to take."""
        self.broken: set[str] = set()
        """Names that cannot be loaded now."""
        self.open = threading.Event()
        self.open.set()
        self._begun = threading.Event()

    def __call__(self, bundle: Bundle, ground: Ground, telemetry: Telemetry) -> LoadedModel:
        manifest = bundle.manifest
        self.refs.append(f"{manifest.name}@{manifest.version}")
        self._begun.set()
        assert self.open.wait(PATIENCE_S)
        if manifest.name in self.broken:
            raise RuntimeError(f"{manifest.name} is broken")
        model = load(bundle, ground, telemetry)
        if "," in ground.settings.device:  # as it were with all the GPUs that the settings name
            for lane in model.every_lane:
                lane.runner.device = ground.device.partition(",")[0]
        model.memory_bytes = self.memory_bytes.get(manifest.name, model.memory_bytes)
        return model

    @property
    def count(self) -> int:
        return len(self.refs)

    def hold(self) -> None:
        """Let no load end until :meth:`release`."""
        self.open.clear()
        self._begun.clear()

    async def begun(self) -> None:
        """Wait until a load has begun since :meth:`hold`."""
        assert await asyncio.to_thread(self._begun.wait, PATIENCE_S)

    def release(self) -> None:
        self.open.set()


def bad_graph(folder: Path) -> Draft:
    """A bundle that hashes as it should and whose graph is none."""
    draft = sensor(folder)
    (folder / "model.onnx").write_bytes(b"not a graph")
    return draft


def bad_example(folder: Path) -> Draft:
    """A bundle whose own example makes its graph fail."""
    draft = sensor(folder)
    verb = draft.verbs["score"].model_copy(update={"example": [0, 0, 99]})
    return draft.model_copy(update={"verbs": {"score": verb}})


def adding(number: float) -> Callable[[Path], Draft]:
    """A maker whose sensor's score is ``number`` more, so that an answer tells its version."""

    def adder(folder: Path) -> Draft:
        return sensor(folder, adds=number)

    return adder
