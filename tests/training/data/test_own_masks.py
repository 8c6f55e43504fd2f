"""A user's pictures and masks: numbers as they were drawn, and what is wrong said of the file."""

from pathlib import Path

import pytest

from model_store.inputs.image import ImageInput
from tests.pictures import halved, masked
from training.data import own_masks
from training.data.scenes import IGNORED
from training.errors import DataError

KIND = ImageInput(height=32, width=32, fit="pad")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return masked(tmp_path)


def test_masks_lie_as_their_pictures_do_and_padding_is_ignored(folder: Path) -> None:
    found = own_masks.read(folder, KIND)
    assert found.names == ("class 0", "class 7")
    assert found.scenes.images.shape == (10, 3, 32, 32)
    masks = found.scenes.masks
    assert (masks[:, :16, :16] == 0).all()
    assert (masks[:, :16, 16:] == 1).all()
    assert (masks[:, 16:] == IGNORED).all()


def test_a_palette_says_the_same_as_grey_values(folder: Path) -> None:
    grey = own_masks.read(folder, KIND)
    for file in (folder / "masks").iterdir():
        coloured = halved(40, 20, 7)
        coloured.putpalette([value % 256 for value in range(768)])
        coloured.save(file)
    assert (own_masks.read(folder, KIND).scenes.masks == grey.scenes.masks).all()


def test_a_file_that_does_not_decode_is_skipped_and_counted(folder: Path) -> None:
    (folder / "images" / "3.png").write_bytes(b"nothing")
    whole = (folder / "masks" / "5.png").read_bytes()
    (folder / "masks" / "5.png").write_bytes(whole[: len(whole) // 2])
    found = own_masks.read(folder, KIND)
    assert len(found.scenes) == 8
    assert "2 skipped as unreadable" in found.source


def test_what_is_wrong_is_said_of_the_file_that_is_wrong(folder: Path) -> None:
    images, masks = folder / "images", folder / "masks"

    def refused(words: str) -> None:
        with pytest.raises(DataError, match=words):
            own_masks.read(folder, KIND)

    (masks / "4.png").rename(folder / "4.png")
    refused("a mask for each; none for \\['4'\\]")
    (folder / "4.png").rename(masks / "4.png")
    halved(40, 20, 7).resize((10, 10)).save(masks / "2.png")
    refused("2.png: expected 40×20 pixels.*got 10×10")
    halved(40, 20, 7).convert("RGB").save(masks / "2.png")
    refused("2.png: expected class numbers.*RGB")
    for file in masks.iterdir():
        halved(40, 20, 0).save(file)
    refused("two classes at least; got 0 alone")
    for file in [*images.iterdir(), *masks.iterdir()]:
        file.unlink()
    refused("got 0 pairs")
    images.rmdir()
    refused("there is no folder images/")
