"""The Bible in English and Spanish, verse by verse: the World English Bible and the Reina-Valera of
1909, from two of Debian's packages. Knows no model.
"""

import functools

from training.data import parallel, sword
from training.data.archive import Archive, fetch
from training.data.debian import contents
from training.data.pairs import Pair, Parts

SOURCE = (
    "World English Bible (sword-text-web 426.0-1) and Reina-Valera 1909 (sword-text-sparv 2.60-1),"
    " verse by verse"
)
LICENSE = "public domain"
ENGLISH = Archive(
    "sword-text-web=426.0-1",
    "sword-text-web_426.0-1_all.deb",
    "930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1",
    size_bytes=3_956_428,
    registry="debian",
    pool="s/sword-text-web",
)
SPANISH = Archive(
    "sword-text-sparv=2.60-1",
    "sword-text-sparv_2.60-1_all.deb",
    "5c87f9b2bc97457e8a872f5bae7ea7ce59cb3de1dcee73e4d4740451863694cf",
    size_bytes=2_722_332,
    registry="debian",
    pool="s/sword-text-sparv",
)
ARCHIVES = {"english": ENGLISH, "spanish": SPANISH}
ENGLISH_MODULE, SPANISH_MODULE = "engWEB2015eb", "spaRV1909eb"
JOHN, OTHERS = "John", "other books"
"""John tells what the other gospels tell, which are learned from: its scores are told apart."""
TEST = ("Ruth", "Jonah", "Ecclesiastes", "Romans", JOHN)
VALIDATION = ("Esther", "Titus")


@functools.cache
def bibles() -> Parts:
    """About 31,000 pairs; whole books are held out, with all their verses. Of the others those of
    very different lengths are dropped: the English Revelation ends in a glossary of 14 kB, and some
    verses are elsewhere in one of both. Raises DataError.
    """
    english = sword.verses(contents(fetch(ENGLISH)), ENGLISH_MODULE)
    spanish = sword.verses(contents(fetch(SPANISH)), SPANISH_MODULE)
    parts = Parts([], [], [])
    for place, target in spanish.items():
        source = english.get(place)
        if source is None:
            continue
        pair = Pair(source, (target,), JOHN if place.book == JOHN else OTHERS)
        if place.book in TEST:
            parts.test.append(pair)
        elif parallel.are_alike(source, target):
            (parts.validation if place.book in VALIDATION else parts.train).append(pair)
    return parts
