"""Photographs: those that come with packages, and a user's folder with every fault told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import photos
from training.errors import DataError


def folder_of(path: Path, *sizes: tuple[int, int]) -> Path:
    path.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for place, (width, height) in enumerate(sizes):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{place}.png")
    return path


def test_the_photographs_of_the_packages_are_there_in_colour() -> None:
    found = photos.packaged()
    assert {"astronaut", "china", "flower"} <= set(found)
    assert len(found) == len(photos.PHOTOS)
    for photo in found.values():
        assert photo.dtype == np.uint8
        assert photo.shape[0] == 3
        assert min(photo.shape[1:]) >= 300


@pytest.mark.parametrize("name", [Path(file).stem for file in photos.TEXTURES])
def test_a_texture_is_known_by_its_name(name: str) -> None:
    assert photos.texture(name).shape[0] == 3


def test_any_picture_may_be_the_texture(tmp_path: Path) -> None:
    folder_of(tmp_path, (9, 7))
    assert photos.texture(str(tmp_path / "0.png")).shape == (3, 7, 9)
    with pytest.raises(DataError, match="nowhere: expected a picture; No such file"):
        photos.texture("nowhere")
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0\.png: expected a PNG"):
        photos.texture(str(tmp_path / "0.png"))


def test_a_folder_is_read_by_names_whatever_else_lies_there(tmp_path: Path) -> None:
    folder_of(tmp_path, *[(40, 30)] * 4)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert list(photos.read(tmp_path, 30)) == ["0.png", "1.png", "2.png", "3.png"]


def test_too_few_too_small_or_broken_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a folder of PNG.*4 at least; got 0"):
        photos.read(tmp_path / "nowhere", 8)
    folder_of(tmp_path, *[(40, 30)] * 4)
    with pytest.raises(DataError, match=r"0\.png: expected sides of 31 pixels at least; got 40×30"):
        photos.read(tmp_path, 31)
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png: expected a PNG"):
        photos.read(tmp_path, 8)


def test_a_large_picture_is_kept_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MOST_SIDE", 20)
    found = photos.read(folder_of(tmp_path, (60, 40), (20, 90), (20, 20), (25, 30)), 20)
    sizes = [(3, 20, 30), (3, 90, 20), (3, 20, 20), (3, 24, 20)]
    assert [photo.shape for photo in found.values()] == sizes


def test_crops_are_squares_that_the_same_draw_gives_again() -> None:
    found = {"a": np.arange(3 * 50 * 70, dtype=np.uint8).reshape(3, 50, 70)}
    first, second = (photos.crops(found, 6, 32, np.random.default_rng(1)) for _ in range(2))
    assert first.shape == (6, 3, 32, 32)
    assert first.tolist() == second.tolist()
    assert first.tolist() != photos.crops(found, 6, 32, np.random.default_rng(2)).tolist()


def test_a_picture_of_the_very_size_of_a_crop_will_do() -> None:
    found = {"a": np.zeros((3, 32, 32), np.uint8)}
    assert photos.crops(found, 2, 32, np.random.default_rng(0)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(("size", "wanted"), [((60, 40), (30, 20)), ((40, 60), (20, 30))])
def test_sized_keeps_the_shape(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert photos.sized(np.zeros((3, *size), np.uint8), 20).shape == (3, *wanted)
