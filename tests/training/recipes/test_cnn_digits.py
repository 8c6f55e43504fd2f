"""What is special to ``cnn_digits``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import pytest
import torch

from training.recipes.cnn_digits import CnnDigits, DigitsConfig, calibration_error


@pytest.fixture(scope="module")
def recipe() -> CnnDigits:
    recipe = CnnDigits(DigitsConfig(epochs=1, learning_rate=1e-3, width=2))
    recipe.load(None)
    return recipe


def test_an_epoch_shows_no_image_twice_and_the_next_another_order(recipe: CnnDigits) -> None:
    first, again, second = (list(recipe.batches(0, epoch)) for epoch in (0, 0, 1))

    shown = {image.numpy().tobytes() for images, _ in first for image in images}
    assert len(first) == recipe.steps(0)
    assert len(shown) == recipe.steps(0) * recipe.config.batch_size
    assert torch.equal(first[0][0], again[0][0])
    assert not torch.equal(first[0][0], second[0][0])


def test_served_probabilities_are_of_the_classes_and_embeddings_of_the_declared_size(
    recipe: CnnDigits, tmp_path: Path
) -> None:
    package = recipe.package({"classifier": recipe.build(0)["classifier"].eval()}, tmp_path)
    graph = package.graphs["model"]
    with torch.no_grad():
        probabilities, embedding = graph.module(*graph.sample(3).values())

    assert probabilities.shape == (3, 10)
    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    assert embedding.shape == (3, package.verbs["embed"].answer.model_dump()["size"])


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = torch.tensor([[0.95, 0.05]]).repeat(20, 1)
    labels = torch.tensor([0] * 19 + [1])

    assert calibration_error(sure, labels) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(sure, 1 - labels) == pytest.approx(0.9, abs=1e-6)
    assert calibration_error(torch.tensor([[0.0, 1.0]]), torch.tensor([1])) == 0
