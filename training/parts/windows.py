"""Finding objects without a network: every window of a few sizes, shrunk to a few coloured squares,
is given to a logistic regression (a sliding window, as in Dalal and Triggs 2005). Knows no recipe.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.scenes import Scenes
from training.parts.average_precision import Found
from training.parts.detection import overlap, suppressed

SQUARES = 8
SHARES = (0.18, 0.27, 0.4)
"""Sides of the windows, as shares of the picture's."""
HIT, MISS = 0.5, 0.3
MOST = 64
EMPTY_PER_PICTURE = 6


class SlidingWindow:
    """Learns from pictures once; finds by :meth:`found`."""

    def __init__(self, scenes: Scenes, classes: int) -> None:
        from sklearn.linear_model import LogisticRegression

        self.windows = _windows(scenes.images.shape[-1])
        looks, labels = [], []
        random = np.random.default_rng(0)
        for image, boxes, kinds in zip(scenes.images, scenes.boxes, scenes.labels, strict=True):
            most = overlap(self.windows[:, None], boxes[None]).amax(1) if len(boxes) else None
            empty = torch.ones(len(self.windows)) > 0 if most is None else most < MISS
            places = random.permutation(empty.nonzero()[:, 0].numpy())[:EMPTY_PER_PICTURE]
            looks += [_look(image, box) for box in (*boxes, *self.windows[places])]
            labels += [*kinds.tolist(), *[classes] * len(places)]
        self.machine: Any = LogisticRegression(max_iter=1000)
        self.machine.fit(torch.stack(looks).numpy(), labels)

    def found(self, scenes: Scenes) -> list[Found]:
        return [self._in(image) for image in scenes.images]

    def _in(self, image: Tensor) -> Found:
        looks = torch.stack([_look(image, box) for box in self.windows])
        chances = self.machine.predict_proba(looks.numpy())
        real = torch.tensor(chances[:, :-1], dtype=torch.float32)  # the last is of nothing there
        scores, labels = real.max(1)
        labels = torch.tensor(self.machine.classes_)[labels]
        order = scores.argsort(descending=True)[:MOST]
        boxes, labels, scores = self.windows[order], labels[order], scores[order]
        kept = suppressed(boxes[None], labels[None], HIT)[0] > 0
        return Found(boxes[kept], labels[kept], scores[kept])


def _windows(side: int) -> Tensor:
    """``[n, 4]``, a third of a window apart."""
    found = []
    for share in SHARES:
        size = round(share * side)
        starts = range(0, side - size + 1, max(1, size // 3))
        found += [[x, y, x + size, y + size] for y in starts for x in starts]
    return torch.tensor(found, dtype=torch.float32)


def _look(image: Tensor, box: Tensor) -> Tensor:
    """Colours of 8 × 8 squares, from 0 to 1."""
    left, top, right, bottom = box.round().int().tolist()
    piece = image[:, top : max(bottom, top + 1), left : max(right, left + 1)].float() / 255
    return F.adaptive_avg_pool2d(piece, SQUARES).flatten()
