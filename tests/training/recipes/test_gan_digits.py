"""What is special to ``gan_digits``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import pytest
import torch

from training.parts.digit_gan import DigitGanConfig
from training.recipes.gan_digits import GanDigits


@pytest.fixture(scope="module")
def recipe() -> GanDigits:
    recipe = GanDigits(DigitGanConfig(epochs=1, learning_rate=1e-3, width=2, critic_width=2))
    recipe.load(None)
    return recipe


def test_the_same_noise_and_another_label_is_another_drawing(
    recipe: GanDigits, tmp_path: Path
) -> None:
    package = recipe.package({"generator": recipe.build(0)["generator"].eval()}, tmp_path)
    module = package.graphs["model"].module
    noise = torch.randn(1, recipe.config.noise_size)
    with torch.no_grad():
        seven, again, eight = (module(noise, torch.tensor([k])) for k in (7, 7, 8))

    assert seven.dtype == torch.uint8
    assert seven.shape == (1, 1, 28, 28)
    assert torch.equal(seven, again)
    assert not torch.equal(seven, eight)


def test_validation_prefers_drawings_that_look_like_the_digits(
    recipe: GanDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = recipe.build(0)
    untrained = recipe.validate({n: m.eval() for n, m in networks.items()}, 0)
    monkeypatch.setattr(recipe, "_draw", lambda *_: recipe.digits.train)

    assert recipe.validate(networks, 0) < 0.2 < untrained
