"""A user's folder of class folders: what is read, and how every fault in it is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_store.inputs.image import ImageInput
from training.data import class_folders
from training.errors import DataError

GREY = ImageInput(height=8, width=8, channels=1, background="black")


def picture(file: Path, seed: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    """A picture of noise, different for each seed."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise.astype(np.uint8)).save(file)
    return file


def two_classes(path: Path, each: int = 3) -> Path:
    for place, name in enumerate(("bad", "good")):
        for number in range(each):
            picture(path / name / f"{number}.png", seed=100 * place + number)
    return path


def test_the_folders_name_the_classes_and_each_picture_gets_its_folders(tmp_path: Path) -> None:
    found = class_folders.read(two_classes(tmp_path), GREY, min_per_class=3)

    assert found.names == ("bad", "good")
    assert found.pictures.images.shape == (6, 1, 8, 8)
    assert found.pictures.images.dtype == torch.uint8
    assert found.pictures.labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_formats_sizes_and_colours_come_out_alike(tmp_path: Path, suffix: str, mode: str) -> None:
    two_classes(tmp_path)
    picture(tmp_path / "good" / f"extra.{suffix}", seed=7, size=(31, 20), mode=mode)

    found = class_folders.read(tmp_path, GREY, min_per_class=3)

    assert found.pictures.images.shape == (7, 1, 8, 8)


def test_a_picture_is_read_as_the_server_would_read_it(tmp_path: Path) -> None:
    two_classes(tmp_path)
    file = picture(tmp_path / "good" / "a.png", seed=7, size=(31, 20), mode="RGBA")

    found = class_folders.read(tmp_path, GREY, min_per_class=3)

    served = GREY.encoder(tmp_path)(file.read_bytes(), None).tensors["image"]
    assert (found.pictures.images.numpy() == served).all(axis=(1, 2, 3)).sum() == 1


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    for number in range(12):
        picture(tmp_path / str(number) / "one.png", seed=number)

    found = class_folders.read(tmp_path, GREY, min_per_class=1)

    assert found.names == tuple(str(number) for number in range(12))


def test_what_desktops_leave_behind_is_passed_over(tmp_path: Path) -> None:
    two_classes(tmp_path)
    for name in (".DS_Store", "good/.DS_Store", "good/Thumbs.db"):
        (tmp_path / name).write_bytes(b"\0")
    (tmp_path / ".cache").mkdir()

    assert len(class_folders.read(tmp_path, GREY, min_per_class=3).pictures) == 6


def test_a_picture_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "good" / "copy.png").write_bytes((tmp_path / "good" / "0.png").read_bytes())

    found = class_folders.read(tmp_path, GREY, min_per_class=3)

    assert (len(found.pictures), found.copies) == (6, 1)


def test_one_picture_in_two_classes_is_refused_with_both_names(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "good" / "odd.png").write_bytes((tmp_path / "bad" / "1.png").read_bytes())

    with pytest.raises(DataError, match=r"odd\.png: expected each .* in one class; .*1\.png is"):
        class_folders.read(tmp_path, GREY, min_per_class=3)


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: expected a folder .*; got nothing there$"):
        class_folders.read(tmp_path / "nowhere", GREY, min_per_class=3)


def test_a_file_instead_of_a_folder_is_told(tmp_path: Path) -> None:
    file = picture(tmp_path / "one.png", seed=1)

    with pytest.raises(DataError, match=r"one\.png: expected a folder .*; got a file$"):
        class_folders.read(file, GREY, min_per_class=3)


def test_one_class_alone_is_told_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "only" / "one.png", seed=1)

    with pytest.raises(DataError, match=r"two at least; got 1 \['only'\]$"):
        class_folders.read(tmp_path, GREY, min_per_class=1)


def test_a_file_beside_the_class_folders_is_told(tmp_path: Path) -> None:
    two_classes(tmp_path)
    picture(tmp_path / "loose.png", seed=1)

    with pytest.raises(
        DataError, match=r"expected only class folders; got the file 'loose\.png' too"
    ):
        class_folders.read(tmp_path, GREY, min_per_class=3)


@pytest.mark.parametrize("content", [b"", b"name,label\n", b"\x89PNG\r\n\x1a\nbroken"])
def test_a_file_that_is_no_picture_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    two_classes(tmp_path)
    (tmp_path / "good" / "x.png").write_bytes(content)

    with pytest.raises(DataError, match=r"x\.png: expected a PNG, JPEG.* picture; got \d+ bytes"):
        class_folders.read(tmp_path, GREY, min_per_class=3)


def test_a_folder_among_the_pictures_is_told_by_name(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "good" / "deeper").mkdir()

    with pytest.raises(DataError, match="deeper: expected a picture; Is a directory"):
        class_folders.read(tmp_path, GREY, min_per_class=3)


def test_too_few_pictures_are_told_with_their_class_and_count(tmp_path: Path) -> None:
    two_classes(tmp_path, each=4)
    (tmp_path / "good" / "0.png").unlink()
    (tmp_path / "empty").mkdir()

    wanted = r"at least 4 different .* in each class; 'empty' has 0, 'good' has 3$"
    with pytest.raises(DataError, match=wanted):
        class_folders.read(tmp_path, GREY, min_per_class=4)


def test_of_many_scarce_classes_only_the_first_are_listed(tmp_path: Path) -> None:
    for number in range(9):
        picture(tmp_path / str(number) / "one.png", seed=number)

    with pytest.raises(DataError, match=r"'4' has 1 and 4 more classes$"):
        class_folders.read(tmp_path, GREY, min_per_class=2)


def test_broken_files_are_left_out_and_named_up_to_a_share(tmp_path: Path) -> None:
    two_classes(tmp_path, each=10)
    (tmp_path / "good" / "torn.png").write_bytes(b"torn")

    found = class_folders.read(tmp_path, GREY, min_per_class=10, most_broken=0.05)
    assert (len(found.pictures), found.broken) == (20, ("good/torn.png",))

    (tmp_path / "good" / "worn.png").write_bytes(b"worn")
    with pytest.raises(DataError, match=r"worn\.png: expected a PNG"):
        class_folders.read(tmp_path, GREY, min_per_class=10, most_broken=0.05)
