import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_store.inputs.image import ImageInput
from training.data import blocked_pictures, elpv
from training.errors import DataError

INPUT = ImageInput(height=8, width=8)


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((9, 9), shade, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of 50 cells like the real one, the user's own fetching done."""
    path = tmp_path / "modelhub" / elpv.ARCHIVE.file
    path.parent.mkdir()
    chances = ["0.0", "1.0", "0.3333333333333333", "0.0", "0.6666666666666666"] * 10
    with zipfile.ZipFile(path, "w") as package:
        lines = [f"images/cell{n:04}.png   {chance}   mono" for n, chance in enumerate(chances)]
        package.writestr(f"{elpv.FOLDER}/labels.csv", "\n".join(lines) + "\n")
        for n in range(50):
            package.writestr(f"{elpv.FOLDER}/images/cell{n:04}.png", png(5 * n))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(elpv, "ARCHIVE", replace(elpv.ARCHIVE, sha256=digest))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return path


def test_cells_that_experts_were_sure_of_come_in_the_order_of_the_files(cells: Path) -> None:
    del cells
    found = blocked_pictures.load(None, INPUT)

    assert found.labels.tolist() == [0, 1, 0] * 10
    assert found.images.shape == (30, 3, 8, 8)
    assert found.images[:4, 0, 0, 0].tolist() == [0, 5, 15, 25]
    assert "not for commercial use" in found.license


def test_an_archive_of_other_bytes_is_refused(cells: Path) -> None:
    cells.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"expected sha256 .*; remove it and run again"):
        blocked_pictures.load(None, INPUT)


def test_consecutive_files_of_a_block_never_cross_a_fold() -> None:
    blocks = blocked_pictures.cut(2223)

    assert sorted(set(blocks)) == list(range(20))
    assert (np.diff(blocks) >= 0).all()
    assert set(np.bincount(blocks)) == {111, 112}


def test_every_class_of_a_users_folders_is_in_every_fold(tmp_path: Path) -> None:
    for label, count in {"a": 10, "b": 43}.items():
        (tmp_path / label).mkdir()
        for n in range(count):
            (tmp_path / label / f"{n:02}.png").write_bytes(png(100 * (label == "b") + n))
    found = blocked_pictures.load(tmp_path, INPUT)

    assert found.names == ("a", "b")
    for place in (0, 1):
        assert set(found.folds[found.labels == place]) == set(range(5))
    in_order = found.folds[found.labels == 1]
    assert (np.diff(in_order) != 0).sum() == 19, "20 blocks, none torn apart"
