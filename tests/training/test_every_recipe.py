"""What is missing is trained, and the table says what there is."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model_store.cli import main
from model_store.store import Store
from tests.training.toys import Toy, ToyGan
from training import every_recipe, recipe
from training.errors import DataError

if TYPE_CHECKING:
    from tests.conftest import Trained


@pytest.fixture
def store(trained: "Trained", tmp_path: Path) -> Path:
    """One that has every recipe's model, but those that a test offers."""
    root = tmp_path / "models"
    root.mkdir()
    for name in Store(trained.store).names():
        (root / name).symlink_to(trained.store / name)
    return root


class Broken(Toy):
    """Has no data."""

    def load(self, data: Path | None) -> None:
        raise DataError("expected a table; got none")


def test_table_has_a_line_for_every_recipe_with_its_score_beside_the_best_baseline(
    store: Path,
) -> None:
    found = every_recipe.rows(store, {})
    assert [row.name for row in found] == recipe.names()
    for row in found:
        manifest = Store(store).open(row.name).manifest
        metric, value = next(iter(manifest.metrics.items()))
        assert row.score == f"{metric.replace('_', ' ')} {value:.4g}"
        assert int(row.parameters.replace(",", "")) > 10
        assert 0.1 < float(row.peak) < 8
    [digits] = [row for row in found if row.name == "cnn_digits"]
    assert digits.baseline.startswith("svm rbf 0.9")
    lines = every_recipe.markdown(found).splitlines()
    assert len(lines) == len(found) + 2
    assert {line.count("|") for line in lines} == {8}


def test_only_what_is_missing_is_trained_and_what_fails_is_said(
    store: Path, offer: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    offer(toy_faults=Toy, toy_squares=ToyGan, toy_broken=Broken)
    before = {name: Store(store).versions(name) for name in Store(store).names()}

    code = main(["train-all", "--store", str(store), "--markdown", str(store / "table.md")])

    out = capsys.readouterr().out
    assert code == 2
    assert "| `toy_faults` | accuracy " in out
    assert "| `toy_broken` | expected a table; got none |" in out
    after = {name: Store(store).versions(name) for name in Store(store).names()}
    assert after == before | {"toy_faults": [1], "toy_squares": [1]}
    assert (store / "table.md").read_text(encoding="utf-8") in out


def test_table_replaces_what_is_between_the_marks_of_a_file(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"Before.\n\n{every_recipe.BEGIN}\nold\n{every_recipe.END}\n\nAfter.\n")
    for _ in range(2):
        every_recipe.write("| new |\n", page)
    assert page.read_text() == (
        f"Before.\n\n{every_recipe.BEGIN}\n\n| new |\n\n{every_recipe.END}\n\nAfter.\n"
    )
    every_recipe.write("| new |\n", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() == "| new |\n"
