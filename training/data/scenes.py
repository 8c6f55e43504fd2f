"""Pictures of objects whose boxes and masks are known: composed of cut-outs laid on photographs,
exact to the pixel, or a user's own. Knows no recipe and no source of cut-outs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_store.spec import Array
from training.data.backgrounds import Photograph
from training.errors import DataError

MAX_OBJECTS = 6
SIZES = (0.16, 0.45)
"""An object's longer side, as a share of the picture's."""
MAX_OVERLAP = 0.15
TRIES = 10
WHITE = 255
IGNORED = 255
"""In a mask: neither the photograph nor a class, but what pads it."""

CutOut: TypeAlias = npt.NDArray[np.uint8]
"""RGBA uint8 ``[h, w, 4]``, with no empty margin."""


@dataclass(frozen=True)
class Scenes:
    """``images`` uint8 ``[N, 3, S, S]``; ``masks`` uint8 ``[N, S, S]`` of class numbers from 1;
    ``boxes`` float32 ``[n, 4]`` in pixels, left, top, right, bottom, and ``labels`` int64 ``[n]``
    from 0 for each picture.
    """

    images: Tensor
    masks: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.images)


class Composer:
    """One part's cut-outs by class, and its photographs."""

    def __init__(
        self, cut_outs: list[list[CutOut]], photographs: list[Photograph], side: int
    ) -> None:
        self.cut_outs, self.photographs, self.side = cut_outs, photographs, side

    def compose(self, count: int, random: np.random.Generator) -> Scenes:
        """So many pictures, the same for the same state of ``random``."""
        made = [self._one(random) for _ in range(count)]
        images, masks, boxes, labels = zip(*made, strict=True)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        return Scenes(
            pixels,
            torch.from_numpy(np.stack(masks)),
            tuple(torch.tensor(b, dtype=torch.float32).reshape(-1, 4) for b in boxes),
            tuple(torch.tensor(label, dtype=torch.int64) for label in labels),
        )

    def _one(
        self, random: np.random.Generator
    ) -> tuple[Photograph, CutOut, list[list[int]], list[int]]:
        """A picture may be wide or tall; then the rest of its square is white, as a server pads
        what it is sent.
        """
        width, height = _extent(self.side, random)
        image = np.full((self.side, self.side, 3), WHITE, np.uint8)
        image[:height, :width] = self._ground(width, height, random)
        mask = np.zeros((self.side, self.side), np.uint8)
        boxes: list[list[int]] = []
        labels: list[int] = []
        for _ in range(random.integers(1, MAX_OBJECTS + 1)):
            label = int(random.integers(len(self.cut_outs)))
            cut_out = self._cut_out(label, min(width, height), random)
            box = _place(cut_out, width, height, boxes, random)
            if box:
                _lay(cut_out, image, mask, box, label)
                boxes.append(box)
                labels.append(label)
        return image, mask, boxes, labels

    def _ground(self, width: int, height: int, random: np.random.Generator) -> Photograph:
        """A piece of a photograph, brighter or darker than it was."""
        from PIL import Image

        photograph = self.photographs[random.integers(len(self.photographs))]
        tall, wide = photograph.shape[:2]
        share = random.uniform(0.35, 1) * min(wide / width, tall / height)
        shown_wide, shown_tall = max(1, int(share * width)), max(1, int(share * height))
        left = int(random.integers(wide - shown_wide + 1))
        top = int(random.integers(tall - shown_tall + 1))
        piece = Image.fromarray(photograph[top : top + shown_tall, left : left + shown_wide])
        pixels = np.asarray(piece.resize((width, height), Image.Resampling.BILINEAR))
        if random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return _lit(pixels, random)

    def _cut_out(self, label: int, limit: int, random: np.random.Generator) -> CutOut:
        """One of the class, turned a little, mirrored or not, and sized."""
        from PIL import Image

        choice = self.cut_outs[label]
        picture = Image.fromarray(choice[random.integers(len(choice))])
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = picture.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR, expand=True)
        long = min(limit, np.exp(random.uniform(*np.log(SIZES))) * self.side)
        scale = long / max(picture.size)
        size = (max(4, round(scale * picture.width)), max(4, round(scale * picture.height)))
        pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR)).copy()
        pixels[:, :, :3] = _lit(pixels[:, :, :3], random)
        return trimmed(pixels)


def _extent(side: int, random: np.random.Generator) -> tuple[int, int]:
    """Width and height of the picture in its square: half of them are square too."""
    if random.random() < 0.5:
        return side, side
    short = int(random.uniform(0.5, 1) * side)
    return (side, short) if random.random() < 0.5 else (short, side)


def _lit(pixels: Photograph, random: np.random.Generator) -> Photograph:
    """A little brighter or darker, in each colour differently."""
    gains = random.uniform(0.75, 1.2) * random.uniform(0.9, 1.1, 3)
    lit: Photograph = (pixels * gains.astype(np.float32)).clip(0, 255).astype(np.uint8)
    return lit


def trimmed(pixels: CutOut) -> CutOut:
    """Without rows and columns that are more than half transparent all along."""
    solid = pixels[:, :, 3] > 127
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not len(rows):
        return pixels
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(
    cut_out: CutOut, width: int, height: int, taken: list[list[int]], random: np.random.Generator
) -> list[int]:
    """Where it fits beside the others, or nearly; nothing after some tries."""
    tall, wide = cut_out.shape[:2]
    if wide > width or tall > height:
        return []
    for _ in range(TRIES):
        left, top = random.integers(width - wide + 1), random.integers(height - tall + 1)
        box = [int(left), int(top), int(left) + wide, int(top) + tall]
        if all(_covered(box, other) <= MAX_OVERLAP for other in taken):
            return box
    return []


def _covered(box: list[int], other: list[int]) -> float:
    """Common area, as a share of the smaller box."""
    wide = min(box[2], other[2]) - max(box[0], other[0])
    tall = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return max(0, wide) * max(0, tall) / min(areas)


def _lay(cut_out: CutOut, image: Photograph, mask: CutOut, box: list[int], label: int) -> None:
    place = np.s_[box[1] : box[3], box[0] : box[2]]
    alpha = cut_out[:, :, 3:].astype(np.float32) / 255
    under = image[place]
    image[place] = (cut_out[:, :, :3] * alpha + under * (1 - alpha)).round().astype(np.uint8)
    mask[place][cut_out[:, :, 3] > 127] = label + 1


def told(names: Sequence[str], scores: Array) -> str:
    """A score of each class, for the card; NaN where the pictures tested on have none of it."""
    return ", ".join(
        f"{name} not tested" if np.isnan(score) else f"{name} {score:.2f}"
        for name, score in zip(names, scores, strict=True)
    )


class Pool:
    """A user's own pictures as a source of scenes: drawn at random, half of them mirrored."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def compose(self, count: int, random: np.random.Generator) -> Scenes:
        rows = random.integers(len(self.scenes), size=count)
        chosen = pick(self.scenes, rows.tolist())
        return mirrored(chosen) if random.random() < 0.5 else chosen


def pick(scenes: Scenes, rows: list[int]) -> Scenes:
    return Scenes(
        scenes.images[rows],
        scenes.masks[rows],
        tuple(scenes.boxes[row] for row in rows),
        tuple(scenes.labels[row] for row in rows),
    )


def mirrored(scenes: Scenes) -> Scenes:
    """Left is right."""
    side = scenes.images.shape[-1]
    boxes = tuple(
        torch.stack([side - box[:, 2], box[:, 1], side - box[:, 0], box[:, 3]], 1)
        for box in scenes.boxes
    )
    return Scenes(scenes.images.flip(3), scenes.masks.flip(2), boxes, scenes.labels)


@dataclass(frozen=True)
class Parts:
    """What is learned from, made anew for each step, and what stays as it is."""

    train: Composer | Pool
    validation: Scenes
    test: Scenes
    names: tuple[str, ...]
    source: str
    license: str
    split: str


def own(scenes: Scenes, names: tuple[str, ...], source: str, seed: int) -> Parts:
    """A user's pictures, split at random: 20 % to test, 15 % to stop by. Raises DataError where all
    boxes fell into one part.
    """
    order = np.random.default_rng(seed).permutation(len(scenes))
    test, validation, train = np.split(
        order, [max(1, round(0.2 * len(order))), max(2, round(0.35 * len(order)))]
    )
    parts = [pick(scenes, rows.tolist()) for rows in (train, validation, test)]
    boxed = [any(map(len, part.boxes)) for part in (scenes, parts[0], parts[2])]
    if boxed[0] and not all(boxed):
        raise DataError(
            f"{source}: expected boxes in some of {len(train)} pictures that are learned from and"
            f" of {len(test)} that are tested on, drawn at random; give more pictures with boxes"
        )
    split = f"{len(test)} of {len(scenes)} pictures, held out at random"
    return Parts(Pool(parts[0]), parts[1], parts[2], names, source, "the user's own", split)
