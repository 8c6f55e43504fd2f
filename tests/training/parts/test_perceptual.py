"""How VGG16 sees style and content; the style of a picture is in its texture, not in its place."""

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data import photos
from training.parts.perceptual import Looks, gram, optimise, relative, roughness


def picture(name: str, side: int = 64) -> Tensor:
    """``[1, 3, side, side]`` from 0 to 1: the middle of a texture or photograph."""
    pixels = photos.packaged().get(name)
    found = photos.sized(photos.texture(name) if pixels is None else pixels, side)
    return torch.from_numpy(found[:, :side, :side].copy())[None].float() / 255


@pytest.fixture(scope="module")
def looks() -> Looks:
    return Looks(picture("ihc", 96))


def test_a_picture_has_its_own_content_and_the_styles_own_style(looks: Looks) -> None:
    style, cat = picture("ihc", 96), picture("chelsea", 96)
    own, other = looks.losses(style, style), looks.losses(cat, style)
    assert float(own.content) == 0
    assert float(own.style) < 1e-6
    assert float(other.content) > 0.3
    assert float(other.style) > 0.1


def test_the_style_is_nearly_the_same_wherever_its_parts_lie(looks: Looks) -> None:
    style, cat = picture("ihc", 96), picture("chelsea", 96)
    moved, other = looks.losses(style.flip(3), style), looks.losses(cat, style)
    assert float(moved.style) < 0.2 * float(other.style)
    assert float(moved.content) > 0.3


def test_each_picture_of_a_batch_has_its_own_losses(looks: Looks) -> None:
    made = torch.cat([picture("chelsea"), picture("coffee")])
    content = torch.cat([picture("coffee")] * 2)
    together = looks.losses(made, content)
    assert together.content.shape == together.style.shape == (2,)
    alone = looks.losses(made[:1], content[:1])
    torch.testing.assert_close(together.content[:1], alone.content)
    torch.testing.assert_close(together.style[:1], alone.style)


def test_optimisation_comes_nearer_and_stays_a_picture(looks: Looks) -> None:
    content = picture("chelsea", 32)
    made = optimise(looks, content, style_weight=5.0, steps=12, rough_weight=0.0)
    assert float(looks.losses(made, content).style) < float(looks.losses(content, content).style)
    assert made.min() >= 0
    assert made.max() <= 1


def test_gram_and_the_relative_distance_are_what_they_say() -> None:
    seen = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels, two places
    np.testing.assert_allclose(gram(seen)[0], [[2.5, 1.5], [1.5, 4.5]])
    assert float(relative(torch.zeros(1, 4), torch.ones(1, 4))) == 1
    assert float(roughness(torch.full((1, 3, 4, 4), 0.5))) == 0
