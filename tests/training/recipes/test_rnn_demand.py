"""What is special to ``rnn_demand``; the contract of all recipes is tested elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from training.errors import DataError
from training.parts import backtest
from training.recipes.rnn_demand import (
    COVERAGE,
    Corrector,
    DemandConfig,
    Forecaster,
    RnnDemand,
    pinball,
)


def config(**changes: Any) -> DemandConfig:
    small = {"epochs": 2, "learning_rate": 1e-3, "hidden": 2, "steps_per_epoch": 1}
    return DemandConfig(**(small | changes))


def loaded(data: Path | None = None, **changes: Any) -> RnnDemand:
    recipe = RnnDemand(config(**changes))
    recipe.load(data)
    return recipe


@pytest.fixture(scope="module")
def recipe() -> RnnDemand:
    return loaded(members=2)


def corrector(recipe: RnnDemand, noise: float = 0.0) -> Corrector:
    """A fresh one; with noise, one that has learned something or other."""
    torch.manual_seed(0)
    made = recipe.build(0)["corrector"].eval().requires_grad_(False)
    assert isinstance(made, Corrector)
    for parameter in made.parameters():
        parameter.add_(noise * torch.randn_like(parameter))
    return made


def csv(folder: Path, values: np.ndarray[Any, Any], column: str) -> Path:
    path = folder / "own.csv"
    path.write_text("\n".join([column, *(f"{value:.6f}" for value in values)]))
    return path


def hourly(days: int) -> np.ndarray[Any, Any]:
    """A day's wave on a week's, growing, with noise; below zero at times."""
    hour = np.arange(days * 24)
    wave = np.sin(hour / 24 * 2 * np.pi) + np.sin(hour / 168 * 2 * np.pi) + hour / 1000
    noise: np.ndarray[Any, Any] = np.random.default_rng(0).normal(size=len(hour))
    return wave + 0.2 * noise


def test_before_training_it_forecasts_two_weeks_mean_at_the_level_of_the_last_hour(
    recipe: RnnDemand,
) -> None:
    origin = 50 * 48
    past, _ = recipe.windows([origin])
    got = Forecaster(recipe.reader, corrector(recipe))(past)[0][0, :, 0]

    x = np.log(recipe.values)
    weeks = [origin - 336, origin - 672]
    level = np.mean([x[origin - 2 : origin] - x[w - 2 : w] for w in weeks])
    want = np.exp(np.mean([x[w : w + 48] for w in weeks], axis=0) + level)
    assert got.numpy() == pytest.approx(want, rel=1e-4)


def test_forecast_scales_with_the_series(recipe: RnnDemand) -> None:
    net = Forecaster(recipe.reader, corrector(recipe, noise=0.3))
    past, _ = recipe.windows([50 * 48])
    for once, twice in zip(net(past), net(2 * past), strict=True):
        assert torch.allclose(2 * once, twice, rtol=1e-4)


@pytest.mark.parametrize("factor", [0.0, 1.0, 1000.0])
def test_values_lie_between_their_bounds_whatever_is_sent(recipe: RnnDemand, factor: float) -> None:
    past, _ = recipe.windows(recipe.parts[0].test)
    wild = past * (1 + factor * torch.rand(past.shape, generator=torch.Generator().manual_seed(0)))
    wild[0] = 0  # a meter that was off
    values, lower, upper = Forecaster(recipe.reader, corrector(recipe, noise=0.3))(wild)

    assert values.shape == (14, 48, 1)
    assert (lower <= values).all()
    assert (values <= upper).all()
    assert torch.stack([lower, values, upper]).isfinite().all()


def test_batches_are_mixtures_that_keep_the_spread_and_come_again_for_the_same_epoch(
    recipe: RnnDemand,
) -> None:
    first, again, other = (next(iter(recipe.batches(0, epoch))) for epoch in (0, 0, 1))
    along, blocks, wrong = first

    assert along.shape == (64, 48, 3)
    assert blocks.shape == (64, 25)
    assert wrong.square().mean().sqrt() == pytest.approx(1.0, abs=0.35)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(wrong, other[2])


def test_validation_widens_an_interval_that_holds_too_little_and_never_narrows_one(
    recipe: RnnDemand,
) -> None:
    past, future = recipe.windows(recipe.parts[0].validation)

    def covered(spread: float) -> tuple[float, float]:
        net = corrector(recipe)
        for name, parameter in net.named_parameters():
            if name.endswith("spread"):
                parameter.fill_(spread)
        recipe.validate({"corrector": net}, 0)
        _, lower, upper = (bound[..., 0] for bound in Forecaster(recipe.reader, net)(past))
        inside: Tensor = (future >= lower) & (future <= upper)
        return float(inside.float().mean()), float(net.widen)

    share, widen = covered(-3.0)
    assert share == pytest.approx(COVERAGE, abs=0.01)
    assert widen > 1
    share, widen = covered(3.0)
    assert share > COVERAGE
    assert widen == 1


def test_pinball_is_least_at_its_quantile() -> None:
    sample = torch.linspace(0, 1, 1001)
    losses = [float(pinball(sample, torch.tensor(guess), 0.9)) for guess in (0.8, 0.9, 1.0)]

    assert min(losses) == losses[1]


def test_held_out_scores_stand_beside_those_of_plain_forecasts(recipe: RnnDemand) -> None:
    fresh = [recipe.build(fold) for fold in range(recipe.folds)]
    with torch.no_grad():
        scores = recipe.evaluate(fresh)

    naive, level, ridge, start = scores.baselines.values()
    assert next(iter(scores.baselines)) == backtest.WEEK_AGO
    assert naive["mean_absolute_error"] == pytest.approx(680.7, abs=0.1)
    assert level["improvement_on_week_ago"] == pytest.approx(0.455, abs=0.001)
    assert ridge["improvement_on_week_ago"] == pytest.approx(0.504, abs=0.002)
    assert scores.metrics["mean_absolute_error"] == pytest.approx(start["mean_absolute_error"])
    assert set(scores.figures) == {"forecasts", "error_by_step"}
    assert "42 forecasts" in scores.description


def test_served_example_is_history_up_to_a_midnight(recipe: RnnDemand, tmp_path: Path) -> None:
    package = recipe.package({"corrector": corrector(recipe)}, tmp_path)
    verb, graph = package.verbs["predict"], package.graphs["model"]
    encoded = verb.input.encoder(tmp_path)(verb.example, None)

    past, _ = recipe.windows([83 * 48])
    assert np.array_equal(encoded.tensors["series"], past.numpy())
    assert len(torch.unique(graph.sample(64)["series"][:, 0])) > 32


def test_a_users_hourly_series_with_values_below_zero_is_learned(tmp_path: Path) -> None:
    path = csv(tmp_path, hourly(60), "kw")
    own = {"column": "kw", "steps_per_day": 24, "horizon": 30, "logarithm": False}
    recipe = loaded(path, **own, test_parts=1, test_days=7)
    net = recipe.build(0)
    for batch in recipe.batches(0, 0):
        assert all(loss.isfinite() for _, loss in recipe.step(net, batch))
    scores = recipe.evaluate([{"corrector": net["corrector"].requires_grad_(False)}])

    assert recipe.folds == 1
    assert scores.metrics["improvement_on_week_ago"] > 0
    assert recipe.data_license == "the user's own"


def test_logarithms_of_values_not_above_zero_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected values above 0 .*--no-logarithm"):
        loaded(csv(tmp_path, hourly(60), "load"), steps_per_day=24, horizon=24)


def test_too_short_a_series_is_refused_with_both_counts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected at least 3,744 steps .*; got 480"):
        loaded(csv(tmp_path, 5 + hourly(20), "load"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"horizon": 48 * 7 + 1}, "horizon: expected at most 336; got 337"),
        ({"validation_days": 1, "horizon": 49}, "horizon: expected at most 48; got 49"),
        ({"level_steps": 49}, "level_steps: expected at most 48; got 49"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, int], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config(**changes)
