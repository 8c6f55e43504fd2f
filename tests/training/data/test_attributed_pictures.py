"""A user's pictures with a table of attributes: what is read, and how every fault is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_store.inputs.image import ImageInput
from training.data import attributed_pictures
from training.errors import DataError

KIND = ImageInput(height=8, width=8)
EACH = attributed_pictures.MIN_PER_VALUE


def pictures(folder: Path, count: int = 2 * EACH, **columns: list[str]) -> Path:
    """Noise under numbers, and a table of ``hair`` and ``mood`` or other columns."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for place in range(count):
        pixels = random.integers(0, 256, (9, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    files = [f"{place}.png" for place in range(count)]
    halves = [place % 2 for place in range(count)]
    own = {"hair": [("red", "black")[half] for half in halves],
           "mood": [("glad", "sad")[half] for half in reversed(halves)]}  # fmt: skip
    table(folder, {"file": files, **(columns or own)})
    return folder


def table(folder: Path, columns: dict[str, list[str]]) -> None:
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    text = "\n".join(",".join(row) for row in rows)
    (folder / attributed_pictures.TABLE).write_text(text, encoding="utf-8")


def test_each_picture_has_the_places_of_its_words(tmp_path: Path) -> None:
    found = attributed_pictures.read(pictures(tmp_path), KIND)
    assert [(one.name, one.values) for one in found.attributes] == [
        ("hair", ("black", "red")),
        ("mood", ("glad", "sad")),
    ]
    assert found.pictures.images.shape == (2 * EACH, 3, 8, 8)
    assert found.pictures.images.dtype == torch.uint8
    assert found.pictures.places[:2].tolist() == [[1, 1], [0, 0]]
    with Image.open(tmp_path / "1.png") as picture:
        assert found.pictures.images[1].tolist() == KIND.pixels(picture).tolist()


def test_class_folders_are_one_attribute(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for place in range(EACH):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (place, 0, 200 * (name == "cat"))).save(
                tmp_path / name / f"{place}.png"
            )
    found = attributed_pictures.read(tmp_path, KIND)
    assert [(one.name, one.values) for one in found.attributes] == [("kind", ("cat", "dog"))]
    assert found.pictures.places.shape == (2 * EACH, 1)


def test_a_picture_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    pictures(tmp_path, 60)
    (tmp_path / "9.png").write_bytes((tmp_path / "7.png").read_bytes())
    assert len(attributed_pictures.read(tmp_path, KIND).pictures) == 59


def test_one_unreadable_picture_among_many_is_skipped_and_named(tmp_path: Path) -> None:
    pictures(tmp_path, 120)
    (tmp_path / "7.png").write_bytes(b"no picture")
    found = attributed_pictures.read(tmp_path, KIND)
    assert len(found.pictures) == 119
    assert "1 skipped as unreadable: 7.png" in found.source


def test_many_unreadable_pictures_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "7.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 40 cannot be read, the first '7\.png'"):
        attributed_pictures.read(tmp_path, KIND)


HALVES = ["a", "b"] * EACH


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"hair": ["a"] * 2 * EACH}, "expected 2 to 64 different labels in column 'hair'; got 1"),
        ({"hair": ["b", *["a"] * (2 * EACH - 1)]}, "at least 20 pictures of each label; 'b' has 1"),
        ({"hair": ["", *HALVES[1:]]}, "expected a word in each cell of 'hair'; one is empty"),
        ({"Hair colour": HALVES}, "expected columns named by small letters"),
        ({"seed": HALVES}, "expected names not in use"),
        ({f"a{n}": HALVES for n in range(13)}, "expected 1 to 12 columns beside 'file'; got 13"),
    ],
)
def test_a_table_that_will_not_do_is_refused(
    tmp_path: Path, columns: dict[str, list[str]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        attributed_pictures.read(pictures(tmp_path, 2 * EACH, **columns), KIND)


@pytest.mark.parametrize("name", ["none.png", "../outside.png", "/etc/passwd", "."])
def test_a_file_that_is_not_in_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = pictures(tmp_path / "inner")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    table(folder, {"file": [name, "1.png"], "hair": ["a", "b"]})
    with pytest.raises(DataError, match="row 2: expected a file beside it"):
        attributed_pictures.read(folder, KIND)


def test_a_table_without_files_or_a_folder_with_nothing_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    table(tmp_path / "a", {"picture": ["0.png"], "hair": ["a"]})
    with pytest.raises(DataError, match="expected a column 'file'; there are 'picture', 'hair'"):
        attributed_pictures.read(tmp_path / "a", KIND)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="one folder of"):
        attributed_pictures.read(tmp_path / "b", KIND)
