"""Composed pictures: boxes and masks agree, nothing held out is learned from; a user's own too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.inputs.image import ImageInput
from tests.pictures import boxed
from training.data import emoji_scenes, own_scenes, scenes
from training.data.emoji_scenes import CLASSES
from training.data.scenes import Composer
from training.errors import DataError

KIND = ImageInput(height=64, width=64, fit="pad")


@pytest.fixture(scope="module")
def makers() -> dict[str, Composer]:
    return emoji_scenes.composers(96, seed=0)


def test_no_drawing_and_no_photograph_is_in_two_parts(makers: dict[str, Composer]) -> None:
    assert len(CLASSES) >= 6
    drawings = {
        part: {cut_out.tobytes() for of_class in maker.cut_outs for cut_out in of_class}
        for part, maker in makers.items()
    }
    grounds = {part: {p.tobytes() for p in maker.photographs} for part, maker in makers.items()}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not drawings[one] & drawings[other]
        assert not grounds[one] & grounds[other]
    assert all(len(of_class) >= 8 for maker in makers.values() for of_class in maker.cut_outs)


def test_a_mask_fills_its_boxes_and_nothing_else(makers: dict[str, Composer]) -> None:
    made = makers["test"].compose(20, np.random.default_rng(3))
    for mask, boxes, labels in zip(made.masks, made.boxes, made.labels, strict=True):
        covered = np.zeros(mask.shape, bool)
        for (left, top, right, bottom), label in zip(boxes.int().tolist(), labels, strict=True):
            inside = mask[top:bottom, left:right]
            covered[top:bottom, left:right] = True
            assert (inside == label + 1).float().mean() > 0.1
        assert (mask.numpy()[~covered] == 0).all()


def test_the_same_seed_composes_the_same_and_another_does_not(makers: dict[str, Composer]) -> None:
    one, same, other = (
        makers["train"].compose(4, np.random.default_rng(seed)).images for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert not (one == other).all()


def test_a_mirrored_picture_has_its_boxes_mirrored(makers: dict[str, Composer]) -> None:
    made = makers["train"].compose(3, np.random.default_rng(5))
    again = scenes.mirrored(scenes.mirrored(made))
    assert (again.images == made.images).all()
    left = [(box[:, 0] + mirror[:, 2] == 96).all() for box, mirror in
            zip(made.boxes, scenes.mirrored(made).boxes, strict=True)]  # fmt: skip
    assert all(left)


# --- a user's own ------------------------------------------------------------------------------


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return boxed(tmp_path)


def _write(folder: Path, value: Any) -> None:
    (folder / "annotations.json").write_text(json.dumps(value), encoding="utf-8")


def test_boxes_are_read_in_pixels_of_the_graphs_square(coco: Path) -> None:
    found, names, source = own_scenes.boxes(coco, KIND)
    assert source == str(coco)
    assert names == ("even", "odd")
    assert found.boxes[5].tolist() == [[4.0, 8.0, 20.0, 24.0]]
    assert [labels.item() for labels in found.labels] == [0, 1] * 5


def _remove(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda coco: coco.pop(key)


def _change(key: str, **values: object) -> Callable[[dict[str, Any]], object]:
    return lambda coco: coco[key][3].update(values)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_remove("annotations"), "annotations: Field required"),
        (lambda coco: coco["annotations"].clear(), "expected categories and annotations"),
        (_change("annotations", image_id=99), "annotation 3: expected an image_id"),
        (_change("annotations", category_id=99), "annotation 3: expected an image_id"),
        (_change("annotations", bbox=[70, 10, 20, 20]), "inside 80×40 pixels"),
        (_change("annotations", bbox=[1, 1, 0, 5]), "annotation 3: expected a box"),
        (_change("annotations", bbox=[1, 1, float("nan"), 5]), "annotation"),
        (_change("annotations", bbox=[1, 1, 5]), "bbox"),
        (_change("images", file_name="none.png"), "expected a picture"),
        (lambda coco: coco["images"].__delitem__(slice(3)), "got 7 pictures"),
    ],
)  # fmt: skip
def test_bad_annotations_are_refused_by_name(
    coco: Path, spoil: Callable[[dict[str, Any]], object], words: str
) -> None:
    value = json.loads((coco / "annotations.json").read_text())
    spoil(value)
    _write(coco, value)
    with pytest.raises(DataError, match=words):
        own_scenes.boxes(coco, KIND)


def test_boxes_that_all_fall_into_one_part_are_refused(coco: Path) -> None:
    value = json.loads((coco / "annotations.json").read_text())
    del value["annotations"][1:]
    _write(coco, value)
    with pytest.raises(DataError, match=r"expected boxes in some of .*give more pictures"):
        scenes.own(*own_scenes.boxes(coco, KIND), seed=0)


def test_a_folder_without_annotations_is_refused(coco: Path) -> None:
    with pytest.raises(DataError, match=r"there is no annotations\.json"):
        own_scenes.boxes(coco / "nowhere", KIND)


def test_a_picture_that_does_not_decode_is_left_out_with_its_boxes_and_named(coco: Path) -> None:
    (coco / "4.png").write_bytes(b"not a picture")
    found, _, source = own_scenes.boxes(coco, KIND)
    assert len(found) == 9
    assert found.boxes[4].tolist() == [[4.0, 8.0, 20.0, 24.0]]  # what was the sixth
    assert source == f"{coco}, 1 skipped as unreadable: ['4.png']"
    for number in range(3):
        (coco / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match="got 6 pictures that decode"):
        own_scenes.boxes(coco, KIND)
