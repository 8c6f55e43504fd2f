"""How far a picture is from the content of one and the style of another, as VGG16 sees them.

Gatys et al. 2015 (arXiv 1508.06576), whose own method, to change the pixels until both are near, is
here too. Both losses are relative: 1 is as far off as a grey nothing. Knows no recipe.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data import hed

CONTENT = 1
"""The block whose view is compared: detailed enough for outlines, not for every pixel."""


class Vgg(nn.Module):
    """Pictures ``[B, 3, H, W]`` from 0 to 1 → what each block saw last: ``[B, C, H/n, W/n]``."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(hed.MEAN_BGR).view(3, 1, 1))
        self.blocks = nn.ModuleList()
        for block in hed.read():
            layers: list[nn.Module] = []
            for kernel, bias in block:
                layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
                layer.weight.data, layer.bias.data = kernel, bias  # type: ignore[union-attr]
                layers += [layer, nn.ReLU()]
            self.blocks.append(nn.Sequential(*layers))
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, blocks: int = len(hed.BLOCKS)) -> list[Tensor]:
        x = images.flip(1) * 255 - self.mean
        seen: list[Tensor] = []
        for place, block in enumerate(self.blocks[:blocks]):
            x = block(F.max_pool2d(x, 2) if place else x)
            seen.append(x)
        return seen


class Losses(NamedTuple):
    """Of a batch of pictures, each ``[B]``."""

    content: Tensor
    style: Tensor


class Looks:
    """Judges pictures against the style of one, ``[1, 3, H, W]`` from 0 to 1."""

    def __init__(self, style: Tensor) -> None:
        self.vgg = Vgg()
        with torch.no_grad():
            self.grams = [gram(seen) for seen in self.vgg(style)]

    def losses(self, made: Tensor, content: Tensor) -> Losses:
        """Of pictures that were made from ``content``, both ``[B, 3, H, W]`` from 0 to 1."""
        self.vgg.to(made.device)
        with torch.no_grad():
            wanted = self.vgg(content, CONTENT + 1)[CONTENT]
        seen = self.vgg(made)
        styles = [
            relative(gram(one), wish.to(made.device))
            for one, wish in zip(seen, self.grams, strict=True)
        ]
        return Losses(relative(seen[CONTENT], wanted), torch.stack(styles).mean(0))


def gram(seen: Tensor) -> Tensor:
    """``[B, C, H, W]`` → which channels go together, wherever: ``[B, C, C]``."""
    flat = seen.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared distance as a share of what is wanted: ``[B]``."""
    apart = (found - wanted).flatten(1).square().sum(1)
    return apart / wanted.flatten(1).square().sum(1).clamp_min(1e-8)


def roughness(images: Tensor) -> Tensor:
    """Mean difference of neighbouring pixels, squared: what no eye would call a brush stroke."""
    down, right = images.diff(dim=2), images.diff(dim=3)
    return down.square().mean() + right.square().mean()


def optimise(
    looks: Looks, content: Tensor, style_weight: float, steps: int, rough_weight: float
) -> Tensor:
    """Gatys' method: pictures made by ``steps`` of Adam on their own pixels, from ``content``."""
    pixels = content.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([pixels], lr=0.02)
    schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            found = looks.losses(pixels, content)
            loss = (found.content + style_weight * found.style).mean()
            torch.autograd.backward(loss + rough_weight * roughness(pixels))
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
    return pixels.detach()


def mean_losses(parts: Sequence[Losses]) -> Losses:
    """Of all batches together."""
    return Losses(
        torch.cat([part.content for part in parts]), torch.cat([part.style for part in parts])
    )
