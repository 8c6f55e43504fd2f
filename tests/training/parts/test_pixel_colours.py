"""Classes told by colour alone."""

import torch

from training.data.scenes import IGNORED
from training.parts.pixel_colours import PixelColours


def halves() -> torch.Tensor:
    """uint8 ``[4, 3, 8, 8]``: red on the left, blue on the right."""
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, :, :4] = 200
    images[:, 2, :, 4:] = 200
    return images


def test_colours_that_tell_the_class_are_learned_without_what_is_ignored() -> None:
    masks = torch.zeros(4, 8, 8, dtype=torch.uint8)
    masks[:, :, 4:] = 1
    some = masks.clone()
    some[:, 6:] = IGNORED
    found = PixelColours(halves(), some, seed=0).masks(halves())
    assert (found == masks).float().mean() > 0.95


def test_a_class_that_is_alone_is_said_everywhere() -> None:
    masks = torch.full((4, 8, 8), 2, dtype=torch.uint8)
    found = PixelColours(halves(), masks, seed=0).masks(halves())
    assert found.shape == (4, 8, 8)
    assert (found == 2).all()
