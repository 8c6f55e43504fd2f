"""Emoji laid on photographs: pictures whose boxes and masks are known to the pixel.

A class is one or more subcategories of Unicode's list of emoji. What is held out is whole emoji, in
the drawings of both vendors, on photographs of their own; of emoji that are drawn alike, such as
the flags of France and of Clipperton, one is left. Held-out members of a class look like known ones
(a clock at another hour, a heart in another colour): the score is for those, not for new kinds.
Knows no recipe.
"""

from collections.abc import Sequence

import numpy as np

from training.data import backgrounds, emoji, photos
from training.data.emoji import Emoji
from training.data.scenes import Composer, CutOut, Parts, trimmed

CLASSES = {
    "button": ("keycap", "alphanum", "av-symbol", "zodiac"),
    "clock": ("time",),
    "face": ("face-affection", "face-concerned", "face-costume", "face-glasses", "face-hand",
             "face-hat", "face-negative", "face-neutral-skeptical", "face-sleepy", "face-smiling",
             "face-tongue", "face-unwell"),
    "flag": ("country-flag",),
    "hand": ("hand-fingers-closed", "hand-fingers-open", "hand-fingers-partial", "hand-prop",
             "hand-single-finger"),
    "heart": ("heart",),
    "person": ("person", "person-role"),
}  # fmt: skip
"""Name → subcategories. Class k of a mask is the k-th, from 1; 0 is the photograph."""
HELD_OUT = {"clock": "a clock at another hour", "heart": "a heart in another colour"}
"""What a held-out member is like, for the card."""
SHARES = {"test": 0.25, "validation": 0.15}
"""Of the emoji of each class."""


def composers(side: int, seed: int, classes: Sequence[str] = tuple(CLASSES)) -> dict[str, Composer]:
    """By part: ``train``, ``validation``, ``test``. Raises DataError."""
    drawn = [emoji.read(vendor) for vendor in emoji.VENDORS]
    parts: dict[str, list[list[CutOut]]] = {"train": [], "validation": [], "test": []}
    for label, subcategories in enumerate(CLASSES[name] for name in classes):
        members = [[one for one in vendor if one.subcategory in subcategories] for vendor in drawn]
        groups = _groups(members)
        order = np.random.default_rng([seed, label]).permutation(len(groups))
        test, validation = (round(SHARES[part] * len(groups)) for part in ("test", "validation"))
        rows = np.split(order, [test, test + validation])
        for part, chosen in zip(("test", "validation", "train"), rows, strict=True):
            parts[part].append([picture for row in chosen for picture in groups[row]])
    photographs = {
        "train": backgrounds.TRAIN,
        "validation": backgrounds.VALIDATION,
        "test": backgrounds.TEST,
    }
    return {
        part: Composer(cut_outs, backgrounds.read(photographs[part]), side)
        for part, cut_outs in parts.items()
    }


def _groups(members: list[list[Emoji]]) -> list[list[CutOut]]:
    """The cut-outs of each group of variants, without emoji that look like an earlier one."""
    seen: set[bytes] = set()
    groups: dict[str, list[CutOut]] = {}
    for together in zip(*members, strict=True):
        looks = {one.picture.tobytes() for one in together}
        if not looks & seen:
            found = groups.setdefault(together[0].group, [])
            found.extend(trimmed(one.picture) for one in together)
        seen |= looks
    return list(groups.values())


def composed(side: int, seed: int, held_out: int, classes: Sequence[str] = tuple(CLASSES)) -> Parts:
    """Emoji of some classes on photographs; so many pictures are tested on, half as many decide
    when to stop.
    """
    makers = composers(side, seed, classes)
    validation, test = (
        makers[part].compose(count, np.random.default_rng([seed, place]))
        for place, (part, count) in enumerate(
            (("validation", max(1, held_out // 2)), ("test", held_out))
        )
    )
    emojis = {part: sum(map(len, maker.cut_outs)) for part, maker in makers.items()}
    examples = [example for name, example in HELD_OUT.items() if name in classes]
    return Parts(
        makers["train"],
        validation,
        test,
        tuple(classes),
        f"{emoji.SOURCE}; {backgrounds.source()}",
        f"{emoji.LICENSE}; {photos.LICENSE}",
        f"{held_out} pictures of {emojis['test']} drawings of emoji (whole emoji, both vendors) on"
        f" {len(backgrounds.TEST)} photographs, none of which training saw; it saw"
        f" {emojis['train']} drawings on {len(backgrounds.TRAIN)} photographs. Held-out members of"
        f" a class look like known ones: {', '.join(examples)}",
    )
