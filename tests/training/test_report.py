from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from model_store.answers.vector import VectorAnswer
from model_store.inputs.table import Column, TableInput
from model_store.manifest import Draft, Graph, Parity, Provenance, Tensor, Verb
from training import report
from training.fit import History
from training.recipe import Evaluation

HISTORY = History(
    epoch=3,
    losses={"generator": [3.0, 2.0, 1.0], "discriminator": [1.0, 2.0, 3.0]},
    validation=[2.0, 1.0, 1.5],
    best_epoch=1,
)


@pytest.fixture
def draft() -> Draft:
    rows = Tensor(name="x", dtype="float32", shape=("batch", 1))
    verb = Verb(
        input=TableInput(columns=(Column(name="x"),)), answer=VectorAnswer(size=1), example=[1]
    )
    return Draft(
        family="other",
        category="tabular",
        task="fault-diagnosis",
        description="Tells a good part from a bad one.",
        license="Apache-2.0",
        graphs={"model": Graph(file="model.onnx", inputs=(rows,), outputs=(rows,))},
        verbs={"embed": verb, "score": verb},
        metrics={"roc_auc": 0.98765, "mean_error": 0.125},
        baselines={
            "isolation_forest": {"roc_auc": 0.5, "mean_error": 1},
            "last_value": {"mean_error": 2},
        },
        evaluation="40 rows held out by time",
        parity={
            "model": Parity(rows=(1,), max_difference=1.5e-6, tolerance=1e-4),
            "other": Parity(rows=(1,), max_difference=2.5e-6, tolerance=1e-4),
        },
        provenance=Provenance(
            recipe="toy_faults",
            profile="full",
            config={"epochs": 3, "hidden": 8},
            seed=7,
            data="the bench",
            data_license="CC0-1.0",
            train_seconds=12.4,
            peak_memory_bytes=640_000_000,
            packages={},
        ),
    )


def test_the_card_has_every_score_beside_its_baselines(draft: Draft) -> None:
    lines = report.card("toy", draft, []).splitlines()
    start = lines.index("|  | roc auc | mean error |")
    assert lines[start + 1 : start + 5] == [
        "| --- | --- | --- |",
        "| this model | 0.9877 | 0.125 |",
        "| isolation forest | 0.5 | 1 |",
        "| last value | – | 2 |",
    ]


def test_the_card_says_what_it_is_and_where_it_comes_from(draft: Draft) -> None:
    card = report.card("toy", draft, ["learning_curve", "worst_rows"])
    for words in (
        "# toy\n",
        "Tells a good part from a bad one.",
        "Family: other. Task: fault-diagnosis. Verbs: embed, score.",
        "Licence: Apache-2.0.",
        "40 rows held out by time",
        "differs from torch by at most 2.5e-06",
        "Data: the bench (licence: CC0-1.0).",
        "`modelhub train toy_faults --profile full --seed 7` in 12 s of training with 0.6 GB",
        " (epochs=3, hidden=8)",
        "![learning curve](learning_curve.png)\n![worst rows](worst_rows.png)",
    ):
        assert words in card


def test_what_the_model_says_is_on_the_card_where_it_says_something(draft: Draft) -> None:
    assert "## Samples" not in report.card("toy", draft, [])
    card = report.card("toy", draft, [], "> **To be** or not")
    assert "\n## Samples\n\n> **To be** or not\n\n## Origin\n" in card


def test_the_card_names_the_licence_of_weights_it_started_from(draft: Draft) -> None:
    assert draft.provenance
    assert "- Weights: from scratch.\n" in report.card("toy", draft, [])
    given = {"weights": "a net", "weights_license": "MIT"}
    origin = draft.provenance.model_copy(update=given)
    card = report.card("toy", draft.model_copy(update={"provenance": origin}), [])
    assert "- Weights: a net (licence: MIT).\n" in card


def test_what_was_not_learned_step_by_step_has_no_learning_curve(
    tmp_path: Path, draft: Draft
) -> None:
    report.write(tmp_path, "toy", draft, [History()], Evaluation({"roc_auc": 1.0}, {}, ""))
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]
    assert "Pictures" not in (tmp_path / "card.md").read_text(encoding="utf-8")


def test_every_picture_is_a_png_that_the_card_shows(tmp_path: Path, draft: Draft) -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    scores = Evaluation({"roc_auc": 1.0}, {}, "", {"worst_rows": figure})
    report.write(tmp_path, "toy", draft, [HISTORY], scores)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"card.md", "learning_curve.png", "worst_rows.png"}
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    for name in written - {"card.md"}:
        assert f"({name})" in card
        with Image.open(tmp_path / name, formats=["PNG"]) as picture:
            assert min(picture.size) > 100


def test_the_learning_curve_marks_the_epoch_that_was_published() -> None:
    [axes] = report.learning_curve([HISTORY]).axes
    lines = {line.get_label(): line for line in axes.lines}
    for name in ("training, generator", "training, discriminator", "validation"):
        assert list(np.asarray(lines[name].get_xdata())) == [1, 2, 3]
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [mark.get_xydata() for mark in marks] == [pytest.approx(np.array([[2, 1]]))]


def test_each_fold_has_a_curve_of_its_own() -> None:
    [axes] = report.learning_curve([HISTORY, HISTORY]).axes
    labels = [str(line.get_label()) for line in axes.lines]
    assert [label for label in labels if label.startswith("validation")] == [
        "validation (fold 1)",
        "validation (fold 2)",
    ]


def test_a_confusion_matrix_counts_guesses_by_truth() -> None:
    truth, guess = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0])
    [axes] = report.confusion_matrix(truth, guess, ["cat", "dog", "eel"]).axes
    cells = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
             for text in axes.texts}  # fmt: skip
    assert cells == {(0, 0): "2", (0, 1): "1", (1, 1): "1", (2, 0): "1"}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat", "dog", "eel"]


def test_a_confusion_matrix_of_many_classes_has_no_numbers() -> None:
    places = np.arange(30)
    [axes] = report.confusion_matrix(places, places, [str(place) for place in places]).axes
    assert len(axes.texts) == 0


@pytest.mark.parametrize(("count", "channels", "cells"), [(7, 1, 8), (8, 3, 8), (1, 1, 4)])
def test_an_image_grid_shows_every_image_and_hides_the_empty_cells(
    count: int, channels: int, cells: int
) -> None:
    images = np.zeros((count, channels, 5, 6), np.uint8)
    figure = report.image_grid(images, [f"title {n}" for n in range(count)], columns=4)
    assert len(figure.axes) == cells
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == [f"title {n}" for n in range(count)]
    assert not any(axes.axison for axes in figure.axes)
