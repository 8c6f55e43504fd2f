"""Distorted and shifted pictures: what changes and what stays."""

import pytest
import torch

from training.parts.distortion import distort, shift


def square() -> torch.Tensor:
    """A white square of 12 pixels in the middle: ``[64, 1, 28, 28]``."""
    images = torch.zeros(64, 1, 28, 28)
    images[:, :, 8:20, 8:20] = 1
    return images


def test_distortion_makes_of_equal_images_different_ones_that_keep_their_ink() -> None:
    torch.manual_seed(0)
    made = distort(square(), 1.0)

    assert made.shape == (64, 1, 28, 28)
    assert (made[0] - made[1]).abs().mean() > 0.005
    ink = made.sum((1, 2, 3)) / 144
    assert (ink > 0.5).all()
    assert (ink < 1.7).all()
    assert made.mean(0)[0, 14, 14] == pytest.approx(1, abs=0.05)  # the middle stays in the middle


def test_distortion_of_no_strength_is_none() -> None:
    assert torch.equal(distort(square(), 0.0), square())


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
