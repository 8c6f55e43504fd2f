"""What is special to ``mlp_diagnosis``; the contract of all recipes is tested elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed

from tests.training.toys import Quiet
from training.fit import fit
from training.recipes.mlp_diagnosis import NETWORK, DiagnosisConfig, MlpDiagnosis


def loaded(data: Path | None = None, **settings: Any) -> MlpDiagnosis:
    recipe = MlpDiagnosis(DiagnosisConfig(**{"epochs": 1, "learning_rate": 0.01, **settings}))
    recipe.load(data)
    return recipe


def test_every_row_is_held_out_once_and_never_learned_from_in_that_fold() -> None:
    recipe = loaded()

    held_out = np.concatenate([test for _, test in recipe.parts])
    assert sorted(held_out.tolist()) == list(range(569))
    for fold, (_, test) in enumerate(recipe.parts):
        learned = {row.tobytes() for rows, _ in recipe.batches(fold, 0) for row in rows.numpy()}
        assert not learned & {row.tobytes() for row in recipe.table.values[test]}


def test_members_see_their_own_noise_and_a_served_row_sees_none() -> None:
    set_seed(0)
    recipe = loaded()
    network = recipe.build(0)[NETWORK]
    rows, _ = next(iter(recipe.batches(0, 0)))

    assert not torch.equal(network(rows), network(rows))
    network.eval()
    assert torch.equal(network(rows), network(rows))


def test_constant_column_of_a_user_changes_nothing_until_it_moves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ages = rng.normal(50, 10, 200)
    lines = [f"{age:.2f},7,{'abc'[int(age > 45) + int(age > 55)]}" for age in ages]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["age,still,stage", *lines]))
    recipe = loaded(path, label_column="stage", epochs=30, parts=2)

    scores = recipe.evaluate(
        [fit(recipe, fold, device="cpu", progress=Quiet()).networks for fold in range(2)]
    )
    assert scores.metrics["accuracy"] > 0.9
    assert scores.baselines["shares_of_the_labels"]["accuracy"] < 0.5
    assert recipe.table.names == ("a", "b", "c")
