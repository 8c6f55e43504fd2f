"""What is special to ``rnn_activity``; the contract of all recipes is tested elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed

from model_store.errors import ItemMismatch
from tests.training.toys import Quiet
from training.fit import fit
from training.recipes.rnn_activity import (
    NETWORK,
    ActivityConfig,
    Net,
    RnnActivity,
    _reversed,
    embedding_size,
    pad,
)


def config(**settings: Any) -> ActivityConfig:
    return ActivityConfig(**{"epochs": 1, "learning_rate": 3e-3, **settings})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Waves of two speeds, of 12 to 20 steps."""
    rng = np.random.default_rng(0)
    lines = ["series,label,x,y"]
    for name in range(40):
        speed = 0.4 if name % 2 else 1.2
        for step in range(rng.integers(12, 21)):
            x, y = np.sin(speed * step + name), rng.normal()
            lines.append(f"s{name},{'slow' if name % 2 else 'fast'},{x:.4f},{y:.4f}")
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines))
    return path


def test_steps_are_reversed_up_to_each_rows_own_end() -> None:
    flow = torch.arange(1.0, 11).view(2, 5, 1)
    mask = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1]])

    backwards = _reversed(flow, mask)[..., 0]
    assert backwards[0, :3].tolist() == [3, 2, 1]
    assert backwards[1].tolist() == [10, 9, 8, 7, 6]


def test_what_lies_beyond_a_series_end_counts_for_nothing() -> None:
    set_seed(0)
    network = Net(2, 3, config()).eval()
    series, mask = pad([np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)])
    longer = torch.cat([series, torch.zeros(1, 9, 2)], dim=1)
    longer_mask = torch.cat([mask, torch.zeros(1, 9)], dim=1)

    for one, other in zip(network(series, mask), network(longer, longer_mask), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert network(series, mask)[1].shape == (1, embedding_size(config()))


def test_every_series_is_shown_as_often_as_the_others(data: Path) -> None:
    recipe = RnnActivity(config(batch_size=8))
    recipe.load(data)

    shown = torch.cat([batch[0][:, 0, 1] for batch in recipe.batches(0, 0)])
    counts = torch.unique(shown, return_counts=True)[1]
    assert len(counts) == len(recipe.known) == 32
    assert set(counts.tolist()) <= {2, 3}


def test_a_user_s_series_are_learned_and_short_ones_refused(data: Path, tmp_path: Path) -> None:
    recipe = RnnActivity(config(epochs=12, batch_size=16))
    recipe.load(data)
    networks = fit(recipe, 0, device="cpu", progress=Quiet()).networks

    assert recipe.evaluate([networks]).metrics["accuracy"] == 1
    verb = recipe.package(networks, tmp_path).verbs["predict"]
    encode, parameters = verb.input.encoder(tmp_path), verb.input.parameters()
    assert encode([[0.0, 1.0]] * 15, parameters).tensors["mask"].tolist() == [[1.0] * 15]
    with pytest.raises(ItemMismatch, match="expected at least 12 steps; got 3"):
        encode([[0.0, 1.0]] * 3, parameters)
    assert NETWORK in networks
