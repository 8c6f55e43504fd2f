"""Naming the class of each pixel without a network: a logistic regression on its colour and the
mean colours around it. Knows no recipe.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.scenes import IGNORED

SIDES = (1, 5, 15)
"""Of the squares whose mean colour is seen, in pixels."""
MOST_PIXELS = 20_000


class PixelColours:
    """Learns from pictures uint8 ``[N, 3, H, W]`` and masks ``[N, H, W]`` once."""

    def __init__(self, images: Tensor, masks: Tensor, seed: int) -> None:
        from sklearn.dummy import DummyClassifier
        from sklearn.linear_model import LogisticRegression

        counted = (masks.flatten() != IGNORED).nonzero()[:, 0].numpy()
        chosen = np.random.default_rng(seed).permutation(counted)[:MOST_PIXELS]
        looks = torch.cat([_looks(part) for part in torch.split(images, 16)])
        labels = masks.flatten()[chosen].numpy()
        alone = len(np.unique(labels)) == 1  # where the others are rare: it is said everywhere
        self.machine: Any = DummyClassifier() if alone else LogisticRegression(max_iter=300)
        self.machine.fit(looks[chosen].numpy(), labels)

    def masks(self, images: Tensor) -> Tensor:
        """uint8 ``[N, H, W]``"""
        parts = [self.machine.predict(_looks(one[None]).numpy()) for one in images]
        return torch.from_numpy(np.stack(parts)).reshape(len(images), *images.shape[2:])


def _looks(images: Tensor) -> Tensor:
    """``[N * H * W, 18]``: three mean colours and their squares, from 0 to 1."""
    pixels = images.float() / 255
    means = [F.avg_pool2d(pixels, side, 1, side // 2, count_include_pad=False) for side in SIDES]
    colours = torch.cat(means, 1)
    return torch.cat([colours, colours.square()], 1).permute(0, 2, 3, 1).flatten(0, 2)
