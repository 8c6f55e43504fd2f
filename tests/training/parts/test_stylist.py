"""The net that restyles: any size in, the same size out."""

import pytest
import torch

from training.parts.stylist import PatchCritic, Stylist


@pytest.fixture(scope="module")
def stylist() -> Stylist:
    torch.manual_seed(0)
    return Stylist(width=4, blocks=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (17, 33), (64, 48)])
def test_a_picture_of_any_size_keeps_it(stylist: Stylist, size: tuple[int, int]) -> None:
    with torch.no_grad():
        made = stylist(torch.rand(2, 3, *size))
    assert made.shape == (2, 3, *size)
    assert torch.isfinite(made).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_a_picture_does_not_depend_on_its_neighbour(stylist: Stylist) -> None:
    images = torch.rand(3, 3, 21, 18)
    with torch.no_grad():
        torch.testing.assert_close(stylist(images)[1:2], stylist(images[1:2]))


def test_one_colour_is_a_picture_too(stylist: Stylist) -> None:
    with torch.no_grad():
        assert torch.isfinite(stylist(torch.ones(1, 3, 12, 12))).all()


def test_the_critic_judges_patches_and_not_the_whole() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(width=4).eval()
    image = torch.rand(1, 3, 96, 96)
    changed = image.clone()
    changed[:, :, :8, :8] = 0
    with torch.no_grad():
        apart = (critic(image) - critic(changed)).abs()[0, 0]
    assert apart.shape == (23, 23)
    assert apart[0, 0] > 0
    assert apart[8:, 8:].max() == 0
