"""What is special to ``gan_augment``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import pytest
import torch

from tests.pictures import digit_folders
from training.data.class_folders import Pictures
from training.parts.few_pictures import learned
from training.recipes.gan_augment import GanAugment, legible


@pytest.fixture(scope="module")
def recipe() -> GanAugment:
    config = GanAugment.profiles["quick"].model_copy(update={"steps_per_epoch": 3, "draws": 3})
    recipe = GanAugment(config)
    recipe.load(None)
    return recipe


def test_each_draw_has_twenty_other_training_pictures_of_each_class(recipe: GanAugment) -> None:
    train = {image.numpy().tobytes() for image in recipe.digits.train.images}
    kept = [{image.numpy().tobytes() for image in few.images} for few in recipe.few]

    assert [torch.bincount(few.labels).tolist() for few in recipe.few] == [[20] * 10] * 3
    assert all(pictures <= train for pictures in kept)
    assert kept[0] != kept[1] != kept[2] != kept[0]


def test_a_gan_is_shown_its_own_few_pictures_only(recipe: GanAugment) -> None:
    for fold, few in enumerate(recipe.few):
        known = {image.numpy().tobytes() for image in few.images}
        for pixels, *_ in recipe.batches(fold, 0):
            assert {image.numpy().tobytes() for image in pixels} <= known


def test_only_drawings_that_are_read_as_asked_are_kept(recipe: GanAugment) -> None:
    few = recipe.few[0]
    reader = learned(few, strength=0, steps=80, seed=0)
    wrong = Pictures(few.images, (few.labels + 1) % 10)
    kept = legible(reader, few + wrong)

    assert len(few) * 0.9 < len(kept) < len(few) * 1.1
    assert torch.equal(reader.read(kept.images), kept.labels)


def test_own_pictures_may_be_fewer_than_twenty_of_a_class(tmp_path: Path) -> None:
    recipe = GanAugment(GanAugment.profiles["quick"])
    recipe.load(digit_folders(tmp_path))

    assert 0 < len(recipe.few[0]) <= len(recipe.digits.train)
