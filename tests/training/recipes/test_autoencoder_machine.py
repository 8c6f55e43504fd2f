"""What is special to ``autoencoder_machine``; the contract of all recipes is tested elsewhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data import bearings
from training.errors import DataError
from training.parts.spectrum import SIZE, Spectrum
from training.recipes.autoencoder_machine import NETWORKS, WINDOW, AutoencoderMachine, MachineConfig

CONFIG = MachineConfig(epochs=1, learning_rate=2e-3)


@pytest.fixture
def recipe(own_data: Callable[[str], Path | None]) -> AutoencoderMachine:
    recipe = AutoencoderMachine(CONFIG)
    recipe.load(own_data("autoencoder_machine"))
    return recipe


def test_without_the_bearings_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"CC-BY-NC-SA-4.0.*`modelhub data get bearings`.*--data"):
        AutoencoderMachine(CONFIG).load(None)


def test_a_model_made_from_the_bearings_is_not_for_commercial_use(
    recipe: AutoencoderMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recipe.license == "Apache-2.0"
    assert recipe.data_license == "the user's own"
    monkeypatch.setattr(bearings, "bearings", lambda: recipe.recordings)
    theirs = AutoencoderMachine(CONFIG)
    theirs.load(None)
    assert theirs.license == theirs.data_license == bearings.LICENSE


def test_each_rotation_holds_another_recording_out_and_halves_share_none(
    recipe: AutoencoderMachine,
) -> None:
    held_out = set()
    for fold in range(recipe.folds):
        known, one, other = (set(recipe._places(fold, name)) for name in NETWORKS)
        assert known == one | other
        assert not one & other
        held_out |= {0, 1, 2} - known
    assert held_out == {0, 1, 2}


def test_loudness_does_not_count_and_nothing_overflows() -> None:
    series = torch.randn(2, WINDOW, 1, generator=torch.Generator().manual_seed(0))
    bands = Spectrum()
    assert bands(series).shape == (2, SIZE)
    assert torch.allclose(bands(series), bands(series * 1000), atol=1e-3)
    for odd in (torch.zeros(1, WINDOW, 1), torch.full((1, WINDOW, 1), 3e38), series * 1e37):
        assert bands(odd).isfinite().all()


@pytest.mark.parametrize("missing", ["sound", "faulty"])
def test_a_folder_without_one_kind_is_refused(tmp_path: Path, missing: str) -> None:
    for kind in {"sound", "faulty"} - {missing}:
        (tmp_path / kind).mkdir()
    with pytest.raises(DataError, match=f"{missing}: expected a folder of CSV files"):
        bearings.own(tmp_path, 16)


def test_too_few_recordings_and_bad_ones_are_refused(tmp_path: Path) -> None:
    for kind in ("sound", "faulty"):
        (tmp_path / kind).mkdir()
    good = "\n".join(["a", *(f"{value:.3f}" for value in np.sin(np.arange(200)))])
    (tmp_path / "sound" / "1.csv").write_text(good)
    with pytest.raises(DataError, match="expected at least 3 recordings"):
        bearings.own(tmp_path, 16)
    for text, words in (
        (good.replace("0.000", "nan", 1), "expected a finite number"),
        ("a\n" + "1\n" * 200, "expected a vibration"),
        ("a,b\n" + "1,2\n" * 200, "expected one column; got 2"),
        ("a\n1\n", "expected at least 160 rows"),
    ):
        (tmp_path / "sound" / "2.csv").write_text(text)
        with pytest.raises(DataError, match=words):
            bearings.own(tmp_path, 16)
