"""Finding objects by boxes, one guess at each cell of a grid (FCOS, arXiv 1904.01355): what a cell
should say, what it is charged for, and which guesses are left. Knows no recipe.

Boxes are left, top, right, bottom. Each cell has one guess, of its likeliest class.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.parts.convolution import convolution

STRIDE = 8
"""Pixels between cells."""
RARE = 0.02
"""What a class's score starts at (arXiv 1708.02002): most cells are empty."""
ALPHA, GAMMA = 0.4, 2.0
"""Weight of a cell with an object, and how little sure cells count."""
MOST_LOG_STRIDES = 4.0
"""Natural logarithm of the farthest side, in strides."""


class Finder(nn.Module):
    """Floats ``[B, 3, S, S]`` from 0 to 1 → scores ``[B, K, G, G]`` as logits, and distances in
    pixels from the cell's centre to its box's sides ``[B, 4, G, G]``. ``G = S / 8``.

    Five halvings see what is around an object; two steps back up say where it is (feature
    pyramids, arXiv 1612.03144).
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        wide = 4 * width
        self.near = nn.Sequential(
            convolution(3, width, 2),
            convolution(width, 2 * width, 2),
            convolution(2 * width, 2 * width),
            convolution(2 * width, wide, 2),
            convolution(wide, wide),
        )
        self.far = nn.Sequential(convolution(wide, 6 * width, 2), convolution(6 * width, 6 * width))
        self.farther = nn.Sequential(
            convolution(6 * width, 8 * width, 2), convolution(8 * width, 8 * width)
        )
        self.from_far, self.from_farther = (nn.Conv2d(w * width, wide, 1) for w in (6, 8))
        self.head = nn.Sequential(convolution(wide, wide), convolution(wide, wide))
        self.scores, self.sides = nn.Conv2d(wide, classes, 1), nn.Conv2d(wide, 4, 1)
        if self.scores.bias is not None:
            nn.init.constant_(self.scores.bias, -math.log(1 / RARE - 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        near = self.near(images)
        far = self.far(near)
        farther = self.farther(far)
        flow = self.from_far(far) + F.interpolate(self.from_farther(farther), scale_factor=2.0)
        flow = self.head(near + F.interpolate(flow, scale_factor=2.0))
        sides = self.sides(flow).clamp(max=MOST_LOG_STRIDES).exp() * STRIDE
        return self.scores(flow), sides


def cells(side: int) -> Tensor:
    """The cells' centres in pixels, x and y: ``[G * G, 2]``, row by row."""
    steps = (torch.arange(side // STRIDE) + 0.5) * STRIDE
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def targets(
    boxes: Sequence[Tensor], labels: Sequence[Tensor], classes: int, side: int
) -> tuple[Tensor, Tensor]:
    """What the cells of each picture should say: ``[B, G * G, K]`` of 0 and 1, and the box of those
    with a 1 ``[B, G * G, 4]``.

    An object is said by the four cells around its centre; the smaller of two that claim a cell has
    it.
    """
    centres = cells(side)
    wanted = torch.zeros(len(boxes), len(centres), classes)
    where = torch.zeros(len(boxes), len(centres), 4)
    for row, (objects, kinds) in enumerate(zip(boxes, labels, strict=True)):
        areas = (objects[:, 2:] - objects[:, :2]).prod(1)
        for place in areas.argsort(descending=True).tolist():
            box = objects[place]
            middle = (box[:2] + box[2:]) / 2
            claimed = ((centres - middle).abs() <= STRIDE).all(1)
            wanted[row, claimed] = 0
            wanted[row, claimed, kinds[place]] = 1
            where[row, claimed] = box
    return wanted, where


def loss(scores: Tensor, sides: Tensor, wanted: Tensor, where: Tensor) -> Tensor:
    """Focal loss of the classes (arXiv 1708.02002) and 1 - generalised overlap (arXiv 1902.09630)
    of the boxes, for each cell that has an object.
    """
    logits = scores.flatten(2).transpose(1, 2)  # [B, G * G, K]
    costs = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    missed = (wanted - logits.sigmoid()).abs()
    weight = torch.where(wanted > 0, ALPHA, 1 - ALPHA)
    has_object = wanted.amax(2) > 0
    count = has_object.sum().clamp(min=1)
    guessed = spread(sides)
    apart = 1 - generalised_overlap(guessed[has_object], where[has_object])
    return ((weight * missed**GAMMA * costs).sum() + apart.sum()) / count


def spread(sides: Tensor) -> Tensor:
    """Distances from each cell's centre ``[B, 4, G, G]`` → boxes ``[B, G * G, 4]``."""
    centres = cells(sides.shape[-1] * STRIDE).to(sides.device)
    distances = sides.flatten(2).transpose(1, 2)
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], -1)


def generalised_overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Of pairs ``[..., 4]``: their overlap, less the share of what encloses both that neither has;
    from -1 to 1.
    """
    common, union = _areas(boxes, others)
    corners = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(
        boxes[..., :2], others[..., :2]
    )
    around = corners.prod(-1)
    return common / union - (around - union) / around


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of pairs ``[..., 4]``, 0 for boxes without an area."""
    common, union = _areas(boxes, others)
    return common / union.clamp(min=1e-9)


def _areas(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    corner = torch.minimum(boxes[..., 2:], others[..., 2:])
    both = (corner - torch.maximum(boxes[..., :2], others[..., :2])).clamp(min=0)
    common = both[..., 0] * both[..., 1]
    each = [((b[..., 2:] - b[..., :2]).clamp(min=0)).prod(-1) for b in (boxes, others)]
    return common, each[0] + each[1] - common


class Guesses(nn.Module):
    """Pixels → what was found, with non-maximum suppression: of guesses at one object, the surest.

    uint8 ``[B, 3, S, S]`` → boxes ``[B, N, 4]`` as shares of the sides, scores ``[B, N]`` from the
    highest down and labels int64 ``[B, N]``; a score of 0 is no guess. A picture's guesses are cut
    to ``most`` before suppression, and no picture's depend on another's.
    """

    def __init__(self, finder: nn.Module, most: int, least_score: float, overlap: float) -> None:
        super().__init__()
        self.finder, self.most = finder, most
        self.least_score, self.overlap = least_score, overlap

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, sides = self.finder(image.float() / 255)
        best, kinds = logits.flatten(2).sigmoid().max(1)  # [B, G * G]
        scores, order = best.topk(self.most, dim=1)
        labels = kinds.gather(1, order)
        boxes = spread(sides).clamp(min=0).clamp(max=image.shape[-1])
        boxes = boxes.gather(1, order[:, :, None].expand(-1, -1, 4))
        kept = scores * suppressed(boxes, labels, self.overlap)
        found = kept >= self.least_score
        return boxes / image.shape[-1] * found[:, :, None], kept * found, labels * found


def suppressed(boxes: Tensor, labels: Tensor, limit: float) -> Tensor:
    """1 for each box ``[B, N, 4]``, surest first, that overlaps no surer one of its label by more
    than ``limit`` that is kept itself; else 0: ``[B, N]``.
    """
    same = labels[:, :, None] == labels[:, None, :]
    hides = (overlap(boxes[:, :, None], boxes[:, None, :]) > limit) & same
    hides = hides.float().triu(1)  # [B, N, N]: the first of a pair is the surer
    kept = torch.ones_like(labels, dtype=torch.float32)
    for place, hidden in enumerate(hides.unbind(1)):
        kept = kept * (1 - hidden * kept[:, place : place + 1])
    return kept
