"""Naming the class of each pixel: a small U-Net (arXiv 1505.04597), its loss and its score. Knows
no recipe.

Masks are uint8 ``[B, H, W]`` of class numbers; pixels of ``IGNORED`` count neither in the loss nor
in the score.
"""

from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.scenes import IGNORED
from training.parts.convolution import convolution

HALVINGS = 4
"""Sides are a multiple of 2 to this power."""
WIDTHS = (1, 3, 6, 12, 16)
"""Channels of each level, from the finest to the coarsest, in widths."""


class UNet(nn.Module):
    """Floats ``[B, 3, H, W]`` from 0 to 1 → logits ``[B, K, H, W]``.

    Four halvings see what is around a pixel; each step back up also sees what was there before the
    halving, which says where an edge is. The finest level is thin: it costs most.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        levels = [width * count for count in WIDTHS]
        self.first = convolution(3, levels[0])
        self.downs = nn.ModuleList(
            nn.Sequential(convolution(fine, coarse, 2), convolution(coarse, coarse))
            for fine, coarse in pairwise(levels)
        )
        self.ups = nn.ModuleList(
            convolution(coarse + fine, fine) for fine, coarse in reversed(list(pairwise(levels)))
        )
        self.logits = nn.Conv2d(levels[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = [self.first(images)]
        for down in self.downs:
            seen.append(down(seen[-1]))
        flow = seen.pop()
        for up in self.ups:
            flow = F.interpolate(flow, scale_factor=2.0, mode="bilinear")
            flow = up(torch.cat([flow, seen.pop()], 1))
        return cast(Tensor, self.logits(flow))


def weights(masks: Tensor, classes: int) -> Tensor:
    """What a pixel of each class counts ``[K]``: the root of how rare the class is, 1 for the
    average pixel. In full proportion, too many pixels would be taken for the rare ones.
    """
    counts = torch.bincount(masks[masks != IGNORED].long(), minlength=classes)[:classes].float()
    rare = counts.clamp(min=1).rsqrt()
    return rare * counts.sum().clamp(min=1) / (rare * counts).sum().clamp(min=1)


def loss(logits: Tensor, masks: Tensor, balance: Tensor) -> Tensor:
    """Cross-entropy weighted by class, and 1 - the soft Dice of the batch's classes (arXiv
    1606.04797).
    """
    wanted, classes = masks.long(), logits.shape[1]
    crossed = F.cross_entropy(logits, wanted, balance.to(logits.device), ignore_index=IGNORED)
    counted = (wanted != IGNORED).float()[:, None]  # [B, 1, H, W]
    real = F.one_hot(wanted * (wanted != IGNORED), classes).permute(0, 3, 1, 2) * counted
    guessed = logits.softmax(1) * counted
    common, both = (part.sum((0, 2, 3)) for part in (real * guessed, real + guessed))
    present = real.sum((0, 2, 3)) > 0
    dice = (2 * common[present] + 1) / (both[present] + 1)
    return crossed + 1 - dice.mean()


def overlaps(truth: Tensor, found: Tensor, classes: int) -> npt.NDArray[np.float64]:
    """Intersection over union of each class over all pixels ``[K]``; NaN for one in neither."""
    counted = truth != IGNORED
    pairs = truth[counted].long() * classes + found[counted].long()
    table = torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).numpy()
    common = np.diag(table).astype(np.float64)
    union = table.sum(0) + table.sum(1) - common
    shares: npt.NDArray[np.float64] = np.full(classes, np.nan)
    np.divide(common, union, out=shares, where=union > 0)
    return shares


class Masks(nn.Module):
    """Pixels uint8 ``[B, 3, H, W]`` → each pixel's likeliest class, uint8 ``[B, H, W]``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image.float() / 255)
        return logits.argmax(1).to(torch.uint8)
