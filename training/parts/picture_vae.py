"""A conditional variational autoencoder around any painter: what a GAN's pictures are held against.

Kingma and Welling 2014 (arXiv 1312.6114), Sohn et al. 2015. Knows no recipe.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEARNING_RATE = 1e-3


def fit(
    painter: nn.Module, reader: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], steps: int,
) -> nn.Module:  # fmt: skip
    """Train ``painter`` (noise and places → pictures) to rebuild what ``reader`` tells it of them.

    ``reader``: pictures ``[B, 3, H, W]`` from 0 to 1 → means and log variances ``[B, 2 · Z]``.
    ``batches``: ``steps`` of pixels uint8 and places. The painter comes back in eval mode.
    """
    parameters = [*painter.parameters(), *reader.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    painter.train().requires_grad_(True)
    reader.train()
    with torch.enable_grad():
        for pixels, places in batches:
            optimizer.zero_grad()
            torch.autograd.backward(_loss(painter, reader, pixels.float() / 255, places))
            optimizer.step()
            schedule.step()
    return painter.eval().requires_grad_(False)


def _loss(painter: nn.Module, reader: nn.Module, images: Tensor, places: Tensor) -> Tensor:
    """Evidence lower bound of a Bernoulli likelihood, the usual one for pixels, by pixel."""
    mean, spread = reader(images).chunk(2, 1)
    noise = mean + (spread / 2).exp() * torch.randn_like(mean)
    told = F.binary_cross_entropy(painter(noise, places), images, reduction="none").sum((1, 2, 3))
    surplus = 0.5 * (mean.square() + spread.exp() - spread - 1).sum(1)
    cost: Tensor = (told + surplus).mean() / images[0].numel()
    return cost
