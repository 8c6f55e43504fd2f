"""Pictures with a label each: emoji of two vendors in their categories, or a user's class folders.

Emoji are held out by what they show, in the drawings of both vendors: a network that has seen one
vendor's cat has not seen an unknown animal in the other's. Knows no recipe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from model_store.inputs.image import ImageInput
from model_store.spec import Array
from training.data import class_folders, emoji
from training.data.class_folders import Pictures
from training.data.emoji import VENDORS, Emoji

MIN_PER_CLASS = 10
MOST_BROKEN = 0.01
SHOWN_BROKEN = 5
FORMAT = (
    f"{class_folders.FORMAT}, {MIN_PER_CLASS} pictures each at least; of all files"
    f" {MOST_BROKEN:.0%} may be broken, and are left out and named"
)
TEST_SHARE, VALIDATION_SHARE = 0.3, 0.1
"""Of all emoji, and of the others."""


@dataclass(frozen=True)
class ClassifiedPictures:
    """``tests``: the pictures to test on, of each kind there is; the first one is what counts.
    ``kinds``: int64, for each picture to learn from, whose kind it is.
    """

    train: Pictures
    validation: Pictures
    tests: Mapping[str, Pictures]
    names: tuple[str, ...]
    source: str
    license: str
    split: str
    kinds: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def test(self) -> Pictures:
        return next(iter(self.tests.values()))

    @property
    def counts(self) -> str:
        """For an evaluation's description."""
        tested = " and ".join(
            f"{len(part):,} {kind} pictures" if kind else f"{len(part):,} pictures"
            for kind, part in self.tests.items()
        )
        return (
            f"{tested} to test on, {self.split}; {len(self.train):,} to learn from,"
            f" {len(self.validation):,} to choose the epoch"
        )


def load(path: Path | None, kind: ImageInput, seed: int, most: int | None) -> ClassifiedPictures:
    """``most``: different emoji, drawn at random; None for all. Raises DataError."""
    return _emoji(kind, seed, most) if path is None else _own(path, kind, seed)


def _own(path: Path, kind: ImageInput, seed: int) -> ClassifiedPictures:
    found = class_folders.read(path, kind, min_per_class=MIN_PER_CLASS, most_broken=MOST_BROKEN)
    train, validation, test = (
        found.pictures[rows] for rows in class_folders.split(found.pictures.labels.numpy(), seed)
    )
    left_out = f", {found.copies} copies left out" if found.copies else ""
    if found.broken:
        some = ", ".join(found.broken[:SHOWN_BROKEN])
        left_out += f", broken files left out: {len(found.broken)} ({some})"
    return ClassifiedPictures(
        train,
        validation,
        {"": test},
        found.names,
        f"{path}: {len(found.pictures):,} pictures in {len(found.names)} classes{left_out}",
        "the user's own",
        "held out at random within each class",
    )


def _emoji(kind: ImageInput, seed: int, most: int | None) -> ClassifiedPictures:
    drawn = {vendor: [e for e in emoji.read(vendor) if e.category != "Component"]
             for vendor in VENDORS}  # fmt: skip
    names = tuple(sorted({one.category for of_vendor in drawn.values() for one in of_vendor}))
    rng = np.random.default_rng(seed)
    groups = sorted({one.group for of_vendor in drawn.values() for one in of_vendor})
    order = rng.permutation(groups)[:most].tolist()
    tested = round(TEST_SHARE * len(order))
    validated = tested + round(VALIDATION_SHARE * (len(order) - tested))
    part_of = {
        group: 2 if place < tested else 1 if place < validated else 0
        for place, group in enumerate(order)
    }
    parts = {
        (vendor, part): _pictures(
            [one for one in of_vendor if part_of.get(one.group) == part], names, kind
        )
        for vendor, of_vendor in drawn.items()
        for part in range(3)
    }
    google, twitter = (parts[vendor, 0] for vendor in VENDORS)
    return ClassifiedPictures(
        google + twitter,
        parts["google", 1] + parts["twitter", 1],
        {vendor: parts[vendor, 2] for vendor in ("twitter", "google")},
        names,
        emoji.SOURCE,
        emoji.LICENSE,
        f"{TEST_SHARE:.0%} of all emoji, held out in the drawings of both vendors",
        np.repeat([0, 1], [len(google), len(twitter)]),
    )


def _pictures(drawn: Sequence[Emoji], names: Sequence[str], kind: ImageInput) -> Pictures:
    """On the ground and in the size that a picture sent to the server gets."""
    from PIL import Image

    ground = Image.new("RGBA", (emoji.SIDE, emoji.SIDE), kind.background)
    pixels = [
        kind.pixels(Image.alpha_composite(ground, Image.fromarray(one.picture)).convert("RGB"))
        for one in drawn
    ]
    labels = torch.tensor([names.index(one.category) for one in drawn])
    return Pictures(torch.from_numpy(np.stack(pixels)), labels)
