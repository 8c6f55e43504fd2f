"""What is special to ``autoencoder_inspection``; the contract of all is tested elsewhere."""

from pathlib import Path

import numpy as np
import pytest

from tests.pictures import digit_folders
from training.errors import DataError
from training.recipes.autoencoder_inspection import AutoencoderInspection, InspectionConfig

CONFIG = InspectionConfig(
    epochs=1, learning_rate=2e-3, size=96, channels=12, hidden=16, latent=4, sound_class="3"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digit_folders(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def recipe(folders: Path) -> AutoencoderInspection:
    recipe = AutoencoderInspection(CONFIG)
    recipe.load(folders)
    return recipe


def test_it_learns_from_sound_pictures_of_other_folds_and_stops_by_others_still(
    recipe: AutoencoderInspection,
) -> None:
    pictures = recipe.pictures
    for fold in range(recipe.folds):
        learned, kept = (rows.numpy() for rows in recipe._rows(fold))
        held_out = np.flatnonzero(pictures.folds == fold)
        used = np.concatenate([learned, kept])
        assert len(learned) > len(kept) > 0
        assert not set(learned) & set(kept)
        assert not set(used) & set(held_out)
        assert not recipe.faulty[used].any()
        assert not set(pictures.blocks[learned]) & set(pictures.blocks[kept])
        assert recipe.faulty[held_out].any()


@pytest.mark.parametrize(("given", "shown"), [(None, "got none"), ("sound", "got sound")])
def test_the_class_without_faults_has_to_be_named(
    folders: Path, given: str | None, shown: str
) -> None:
    recipe = AutoencoderInspection(CONFIG.model_copy(update={"sound_class": given}))
    with pytest.raises(DataError, match=f"--sound-class to be one of 3, 5, 8; {shown}"):
        recipe.load(folders)
