"""What is special to ``rnn_sensor``; the contract of all recipes is tested elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed

from tests.training.toys import Quiet
from training.fit import fit
from training.recipes.rnn_sensor import NETWORK, Gru, Mlps, Reader, RnnSensor, SensorConfig


def loaded(data: Path | None = None, **settings: Any) -> RnnSensor:
    recipe = RnnSensor(SensorConfig(**{"epochs": 1, "learning_rate": 0.02, **settings}))
    recipe.load(data)
    return recipe


def test_rival_is_fitted_first_and_the_flag_says_which_one_is_published() -> None:
    for flag, kinds in (("mlp", [Gru, Mlps]), ("gru", [Mlps, Gru])):
        recipe = loaded(network=flag)
        built: list[Any] = [recipe.build(fold)[NETWORK] for fold in range(recipe.folds)]
        assert [type(sensor.network) for sensor in built] == kinds


def test_scatter_correction_forgets_level_and_scale_of_a_series() -> None:
    rows = torch.rand(20, 30)
    corrected, raw = Reader(rows, scatter=True), Reader(rows, scatter=False)

    assert torch.allclose(corrected(rows), corrected(3 * rows + 5), atol=1e-4)
    assert not torch.allclose(raw(rows), raw(3 * rows + 5), atol=1)


def test_constant_series_is_answered_with_a_number() -> None:
    recipe = loaded()
    served = recipe._served(recipe.build(1))

    assert served(torch.ones(2, 100, 1)).isfinite().all()


def test_components_beyond_the_rank_of_the_rows_are_left_out() -> None:
    rows = torch.outer(torch.linspace(-1, 1, 50), torch.rand(30))

    assert Mlps(rows, SensorConfig(epochs=1, learning_rate=1)).directions.shape == (30, 1)


@pytest.mark.parametrize("length", [99, 100, 101])
def test_gru_takes_any_number_of_readings(length: int) -> None:
    network = Gru(torch.ones(length), SensorConfig(epochs=1, learning_rate=1))

    assert network(torch.rand(3, length)).shape == (1, 3)


def test_held_out_samples_are_neither_learned_from_nor_stopped_by() -> None:
    recipe = loaded()
    seen = np.concatenate([recipe.train.readings, recipe.validation.readings])

    assert not (seen[:, None] == recipe.spectra.test.readings).all(2).any()


def test_a_user_s_value_is_learned_and_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    readings = rng.normal(size=(120, 6)).cumsum(1)
    values = np.tanh(readings[:, 0]) + readings[:, 5]
    lines = [",".join(f"{cell:.5f}" for cell in row) for row in np.c_[readings, values]]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["a,b,c,d,e,f,moisture", *lines]))
    recipe = loaded(path, target_column="moisture", scatter=False, epochs=80)
    set_seed(0)

    scores = recipe.evaluate(
        [fit(recipe, fold, device="cpu", progress=Quiet()).networks for fold in range(2)]
    )
    assert scores.metrics["r2"] > 0.9
    assert scores.baselines["mean_of_the_known"]["r2"] < 0.1
    verb = recipe.package(recipe.build(1), tmp_path).verbs["predict"]
    assert verb.answer.model_dump()["names"] == ("moisture",)
