"""What is special to ``autoencoder_fraud``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model_store.inputs.table import Column
from training.parts.autoencoders import Autoencoders, BalancedDetector
from training.parts.mixed_columns import MixedColumns
from training.parts.normal_rows import NETWORK
from training.recipes.autoencoder_fraud import AutoencoderFraud, FraudConfig

COLUMNS = (
    Column(name="shop", categories=("food", "fuel", "gifts")),
    Column(name="amount"),
    Column(name="country", categories=("home", "abroad")),
)


def test_word_becomes_a_one_among_zeros_and_is_told_of_its_column() -> None:
    normal = np.array([[0, 1, 0], [1, 2, 0], [2, 3, 1]], dtype=np.float32)
    mixed = MixedColumns(COLUMNS, normal)

    rows = mixed.as_they_are(torch.tensor(normal))
    assert rows.tolist() == [[1, 1, 0, 0, 1, 0], [2, 0, 1, 0, 1, 0], [3, 0, 0, 1, 0, 1]]
    assert mixed.groups.argmax(1).tolist() == [1, 0, 0, 0, 2, 2]
    assert torch.equal(mixed(torch.tensor(normal))[:, 1:], rows[:, 1:])


def test_contributions_are_of_the_columns_and_a_usual_row_scores_one() -> None:
    rng = np.random.default_rng(0)
    values = np.stack(
        [rng.integers(0, 3, 400), rng.normal(size=400), rng.integers(0, 2, 400)], axis=1
    ).astype(np.float32)
    mixed = MixedColumns(COLUMNS, values)
    rows = torch.tensor(values)
    detector = BalancedDetector(mixed, Autoencoders(2, 6, 8, 1), rows, mixed.groups).eval()
    with torch.no_grad():
        score, contributions, _ = detector(rows)
        far = rows[:1].clone()
        far[0, 1] = 1e6
        strange, reasons, _ = detector(far)

    assert contributions.shape == (400, 3)
    assert torch.allclose(contributions.sum(1), score, atol=1e-5)
    assert torch.allclose(score.mean(), torch.tensor(1.0), atol=1e-3)
    assert strange > score[0]
    assert reasons[0].argmax() == 1


@pytest.fixture
def thousand_to_one(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    amounts, hours = rng.lognormal(3, 0.5, 10_010), rng.normal(14, 2, 10_010)
    amounts[:10] *= 100
    rows = [
        f"{amount:.2f},{hour:.2f},{'food' if hour < 14 else 'fuel'},{int(place < 10)}"
        for place, (amount, hour) in enumerate(zip(amounts, hours, strict=True))
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["amount,hour,shop,fraud", *rows]) + "\n")
    return path


def test_one_fraud_in_a_thousand_rows_is_enough_to_be_judged_by(thousand_to_one: Path) -> None:
    recipe = AutoencoderFraud(FraudConfig(epochs=1, learning_rate=1e-3, hidden=8, members=2))
    recipe.load(thousand_to_one)
    networks = {NETWORK: recipe.build(0)[NETWORK].eval()}
    with torch.no_grad():
        scores = recipe.evaluate([networks])

    assert recipe.truth.sum() == 4
    assert recipe.train[:, 0].max() < 1000, "no fraud is learned from"
    assert scores.metrics["average_precision"] > 0.5
