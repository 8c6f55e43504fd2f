"""Pictures with labels: what is held out is held out in every drawing of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_store.inputs.image import ImageInput
from tests.pictures import digit_folders
from training.data import classified_pictures, emoji
from training.data.classified_pictures import ClassifiedPictures
from training.errors import DataError

KIND = ImageInput(height=32, width=32)


@pytest.fixture(scope="module")
def drawn() -> ClassifiedPictures:
    return classified_pictures.load(None, KIND, seed=0, most=300)


def test_no_emoji_is_learned_from_in_one_drawing_and_tested_in_the_other(
    drawn: ClassifiedPictures,
) -> None:
    held_out = {part.images.numpy().tobytes() for part in drawn.tests.values()}
    assert len(held_out) == 2
    groups: dict[bytes, set[str]] = {}
    for vendor in emoji.VENDORS:
        for one in emoji.read(vendor):
            [pixels] = classified_pictures._pictures([one], [one.category], KIND).images.numpy()
            groups.setdefault(pixels.tobytes(), set()).add(one.group)

    def seen(images: np.ndarray) -> set[str]:
        return {group for image in images for group in groups[image.tobytes()]}

    learned = seen(drawn.train.images.numpy()) | seen(drawn.validation.images.numpy())
    for part in drawn.tests.values():
        assert not learned & seen(part.images.numpy())
    assert seen(drawn.tests["twitter"].images.numpy()) == seen(drawn.tests["google"].images.numpy())


def test_each_picture_to_learn_from_has_its_vendor(drawn: ClassifiedPictures) -> None:
    assert len(drawn.kinds) == len(drawn.train)
    assert set(drawn.kinds.tolist()) == {0, 1}
    assert len(drawn.names) == 9
    tested = len(drawn.tests["twitter"])
    assert 90 <= tested < 120  # 30 % of 300, some of which have more than one picture
    assert f"{tested} twitter pictures and {tested} google pictures" in drawn.counts


def test_another_seed_holds_out_others(drawn: ClassifiedPictures) -> None:
    other = classified_pictures.load(None, KIND, seed=1, most=300)
    assert not np.array_equal(other.test.images.numpy(), drawn.test.images.numpy())


def test_a_users_class_folders_are_split_within_each_class(tmp_path: Path) -> None:
    found = classified_pictures.load(digit_folders(tmp_path), KIND, seed=0, most=None)
    assert found.names == ("3", "5", "8")
    assert np.bincount(found.test.labels).tolist() == [4, 4, 4]
    assert found.source.endswith("60 pictures in 3 classes")
    assert list(found.tests) == [""]


def test_too_few_pictures_of_a_class_are_refused(tmp_path: Path) -> None:
    folder = digit_folders(tmp_path)
    for file in sorted((folder / "5").iterdir())[9:]:
        file.unlink()
    with pytest.raises(DataError, match="'5' has 9"):
        classified_pictures.load(folder, KIND, seed=0, most=None)


def test_a_broken_file_among_many_is_left_out_and_named(tmp_path: Path) -> None:
    for label, shade in (("dark", 0), ("light", 150)):
        (tmp_path / label).mkdir()
        for place in range(60):
            pixels = np.full((1, 1), shade + place, np.uint8)  # a picture of one pixel will do
            Image.fromarray(pixels).save(tmp_path / label / f"{place:02}.png")
    (tmp_path / "dark" / "torn.png").write_bytes(b"torn")
    found = classified_pictures.load(tmp_path, KIND, seed=0, most=None)
    assert found.source.endswith(
        "120 pictures in 2 classes, broken files left out: 1 (dark/torn.png)"
    )

    (tmp_path / "dark" / "worn.png").write_bytes(b"worn")
    with pytest.raises(DataError, match=r"worn\.png: expected a PNG"):
        classified_pictures.load(tmp_path, KIND, seed=0, most=None)
