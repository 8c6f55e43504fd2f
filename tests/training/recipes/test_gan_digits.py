"""What is special to ``gan_digits``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import pytest
import torch

from training.data.class_folders import Pictures
from training.recipes.gan_digits import GanConfig, GanDigits, gaussian_samples, shift


@pytest.fixture(scope="module")
def recipe() -> GanDigits:
    recipe = GanDigits(GanConfig(epochs=1, learning_rate=1e-3, width=2, critic_width=2))
    recipe.load(None)
    return recipe


def test_a_shifted_image_is_the_same_image_elsewhere() -> None:
    torch.manual_seed(0)
    dots = torch.zeros(200, 1, 28, 28)
    dots[:, 0, 10, 12] = 1
    moved = shift(dots, most=2)

    assert moved.sum((1, 2, 3)).tolist() == [1.0] * 200
    places = {(int(y), int(x)) for y, x in moved[:, 0].nonzero()[:, 1:]}
    assert places == {(y, x) for y in range(8, 13) for x in range(10, 15)}


def test_shifting_lets_gradients_through() -> None:
    images = torch.ones(2, 1, 28, 28, requires_grad=True)
    shift(images, most=1).sum().backward()  # type: ignore[no-untyped-call]  # torch's own

    assert images.grad is not None
    assert images.grad.sum() > 0


def test_a_batch_trains_the_discriminator_first_and_leaves_it_trainable(recipe: GanDigits) -> None:
    networks = recipe.build(0)
    batch = next(iter(recipe.batches(0, 0)))
    trained = []
    for name, loss in recipe.step(networks, batch):
        torch.autograd.backward(loss)
        trained.append(name)

    assert trained == ["discriminator", "generator"]
    assert all(p.requires_grad for p in networks["discriminator"].parameters())
    assert all(p.grad is not None for p in networks["generator"].parameters())


def test_the_generators_loss_sends_no_gradient_into_the_discriminator(recipe: GanDigits) -> None:
    networks = recipe.build(0)
    for name, loss in recipe.step(networks, next(iter(recipe.batches(0, 0)))):
        if name == "generator":
            torch.autograd.backward(loss)

    assert all(p.grad is None for p in networks["discriminator"].parameters())


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


def test_gaussian_samples_have_the_mean_and_the_spread_of_the_images() -> None:
    torch.manual_seed(0)
    images = torch.randint(100, 150, (400, 1, 4, 4), dtype=torch.uint8)
    images[200:] += 50
    known = Pictures(images, torch.arange(2).repeat_interleave(200))
    made = gaussian_samples(known, 500)

    assert made.labels.bincount().tolist() == [500, 500]
    for label in (0, 1):
        ours, theirs = (p.images[p.labels == label].float() for p in (made, known))
        assert ours.mean() == pytest.approx(float(theirs.mean()), rel=0.02)
        assert ours.std(0).mean() == pytest.approx(float(theirs.std(0).mean()), rel=0.1)
