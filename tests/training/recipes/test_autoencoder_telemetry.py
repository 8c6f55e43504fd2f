"""What is special to ``autoencoder_telemetry``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from training.parts.autoencoders import Autoencoders, Detector
from training.parts.normal_rows import NETWORK
from training.parts.quantiles import QuantileNormal
from training.recipes.autoencoder_telemetry import AutoencoderTelemetry, TelemetryConfig


def config(label_column: str | None = "broken") -> TelemetryConfig:
    return TelemetryConfig(
        epochs=1, learning_rate=1e-3, hidden=8, latent=1, members=2, label_column=label_column
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two readings that follow each other; in an anomaly they part."""
    rng = np.random.default_rng(0)
    speed = rng.normal(50, 10, 600)
    heat = 2 * speed + rng.normal(0, 1, 600)
    heat[:60] = 200 - heat[:60]
    rows = [
        f"{s:.3f},{h:.3f},{int(place < 60)}"
        for place, (s, h) in enumerate(zip(speed, heat, strict=True))
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["speed,heat,broken", *rows]) + "\n")
    return path


def loaded(data: Path, label_column: str | None = "broken") -> AutoencoderTelemetry:
    recipe = AutoencoderTelemetry(config(label_column))
    recipe.load(data)
    return recipe


def test_transform_makes_any_distribution_normal_and_keeps_the_order() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.exponential(1e4, 5000), rng.integers(0, 4, 5000)], 1)
    transform = QuantileNormal(values.astype(np.float32))

    normal = transform(torch.tensor(values, dtype=torch.float32))
    assert torch.allclose(normal[:, 0].mean(), torch.tensor(0.0), atol=0.05)
    assert torch.allclose(normal[:, 0].std(), torch.tensor(1.0), atol=0.05)
    order = np.argsort(values[:, 0])
    assert (normal[order, 0].diff() >= -1e-5).all()
    assert len(normal[:, 1].unique()) == 4


def test_transform_goes_on_outside_of_what_it_has_seen() -> None:
    transform = QuantileNormal(np.linspace(0, 1, 500, dtype=np.float32)[:, None])

    far = transform(torch.tensor([[-1e30], [-5.0], [0.0], [1.0], [6.0], [1e30]]))[:, 0]
    assert (far.diff() > 0).all()
    assert far.isfinite().all()
    assert torch.allclose(far, -far.flip(0), atol=1e-4)


def test_constant_column_is_nothing_until_it_moves() -> None:
    transform = QuantileNormal(np.full((100, 1), 20, dtype=np.float32))

    still, moved = transform(torch.tensor([[20.0], [25.0]]))[:, 0]
    assert still == 0
    assert moved > 2


def test_contributions_add_up_to_the_score_and_a_usual_row_scores_one() -> None:
    rows = torch.randn(200, 3)
    detector = Detector(torch.nn.Identity(), Autoencoders(2, 3, 8, 1), rows).eval()
    with torch.no_grad():
        score, contributions, embedding = detector(rows)

    assert torch.allclose(contributions.sum(1), score)
    assert torch.allclose(score.mean(), torch.tensor(1.0), atol=1e-4)
    assert embedding.shape == (200, 2)


def test_members_learn_apart(data: Path) -> None:
    recipe = loaded(data)
    network = recipe.build(0)[NETWORK]
    first, second = network(recipe.rows[:5])[0]

    assert not torch.allclose(first, second)


def test_only_normal_rows_are_learned_from_and_anomalies_keep_their_share(data: Path) -> None:
    recipe = loaded(data)

    learned = torch.cat(list(recipe.batches(0, 0)))
    assert len(learned) == len(recipe.train) == 540 * 0.5
    assert (np.abs(recipe.train[:, 1] - 2 * recipe.train[:, 0]) < 6).all()
    assert recipe.truth.sum() == 24
    assert len(recipe.test) == 240


def test_an_epoch_shows_each_row_once_and_the_next_another_order(data: Path) -> None:
    recipe = loaded(data)
    first, again, second = (list(recipe.batches(0, epoch)) for epoch in (0, 0, 1))

    def in_order(rows: list[Tensor]) -> list[list[float]]:
        return sorted(torch.cat(rows).tolist())

    assert len(first) == recipe.steps(0)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], second[0])
    assert in_order(first) == in_order(second)


def test_threshold_is_passed_by_the_stated_share_of_normal_rows(data: Path) -> None:
    recipe = loaded(data)

    assert recipe._threshold(np.arange(1001)) == pytest.approx(990)


def test_table_without_labels_is_scored_by_its_false_alarms_alone(data: Path) -> None:
    recipe = loaded(data, label_column=None)
    recipe_networks = {NETWORK: recipe.build(0)[NETWORK].eval()}
    with torch.no_grad():
        scores = recipe.evaluate([recipe_networks])

    assert list(scores.metrics) == ["false_alarm_rate"]
    assert list(scores.figures) == ["scores"]
    assert "no labels" in scores.description
