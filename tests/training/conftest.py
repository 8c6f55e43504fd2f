"""What makes many tiny trainings quick."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def quick() -> None:
    """One thread, as the pipeline has it: tiny networks would spend their time handing work over.
    And what torch brings along is no longer looked through each time a fit frees its memory.
    """
    import torch

    import training.pipeline  # noqa: F401 - all there is to import

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``offer(name=Class)``: recipes by entry point, as another distribution would offer them.
    Subprocesses see them too.
    """

    def offer(**kinds: type) -> None:
        folder = tmp_path / "other-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        lines = [f"{name} = {kind.__module__}:{kind.__name__}" for name, kind in kinds.items()]
        words = "\n".join(["[modelhub.recipes]", *lines])
        (folder / "entry_points.txt").write_text(words + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return offer
