"""Emoji as two vendors draw them: small pictures with a transparent ground, in nine categories.

The Unicode names and categories are those of emoji-datasource's own list. Many emoji are one
picture in several skin tones or genders: they have one :attr:`Emoji.group`, and what is held out
should be held out by group, in the drawings of both vendors. Knows no recipe.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from training.data import archive
from training.data.archive import Archive

Vendor: TypeAlias = Literal["google", "twitter"]
VENDORS: tuple[Vendor, ...] = get_args(Vendor)
VERSION = "16.0.0"
ARCHIVES = {
    "emoji-google": Archive(
        f"emoji-datasource-google@{VERSION}",
        f"emoji-datasource-google-{VERSION}.tgz",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        size_bytes=74_344_091,
        registry="npm",
    ),
    "emoji-twitter": Archive(
        f"emoji-datasource-twitter@{VERSION}",
        f"emoji-datasource-twitter-{VERSION}.tgz",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        size_bytes=61_683_754,
        registry="npm",
    ),
}
SOURCE = f"emoji-datasource {VERSION}: emoji of Google and Twitter, 64 × 64"
LICENSE = "Apache-2.0 (Google's), CC-BY-4.0 (Twitter's)"
SIDE = 64
UNSEEN = {"200D", "FE0F", "2640", "2642", "27A1", *(f"1F3F{digit}" for digit in "BCDEF")}
"""Joiners, genders, the way one faces, skin tones."""
SAME = {
    "1F468": "1F9D1", "1F469": "1F9D1",  # man, woman: person
    "1F466": "1F9D2", "1F467": "1F9D2",  # boy, girl: child
    "1F474": "1F9D3", "1F475": "1F9D3",  # old man, old woman: old person
    "1F46C": "1F46B", "1F46D": "1F46B",  # two men, two women: a couple holding hands
    "1F478": "1F934", "1F936": "1F385",  # princess: prince; both who bring Christmas gifts
}  # fmt: skip


@dataclass(frozen=True)
class Emoji:
    """``picture``: RGBA uint8 ``[64, 64, 4]``. ``group``: the same for all variants of one emoji,
    and for both vendors.
    """

    name: str
    category: str
    subcategory: str
    group: str
    picture: npt.NDArray[np.uint8]


def read(vendor: Vendor, *, variants: bool = False) -> list[Emoji]:
    """All that the vendor draws, in the list's order; without the variants in skin tone, unless
    asked for. Raises DataError.
    """
    path = archive.fetch(ARCHIVES[f"emoji-{vendor}"])
    folder = f"package/img/{vendor}/{SIDE}/"
    with tarfile.open(path) as package:
        files = {
            member.name.removeprefix(folder): _content(package, member)
            for member in package
            if member.name.startswith(folder) or member.name == "package/emoji.json"
        }
    listed = json.loads(files["package/emoji.json"])
    return [
        Emoji(
            name=entry["short_name"],
            category=entry["category"],
            subcategory=entry["subcategory"],
            group=group(entry["unified"]),
            picture=_decode(files[form["image"]]),
        )
        for entry in listed
        for form in _forms(entry, variants)
        if form[f"has_img_{vendor}"]
    ]


def group(unified: str) -> str:
    """The code points that are left without skin tone, gender and direction."""
    points = (point for point in unified.split("-") if point not in UNSEEN)
    return "-".join(SAME.get(point, point) for point in points) or unified


def _forms(entry: Mapping[str, Any], variants: bool) -> Iterator[Mapping[str, Any]]:
    yield entry
    if variants:
        yield from entry.get("skin_variations", {}).values()


def _content(package: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = package.extractfile(member)
    return file.read() if file else b""


def _decode(png: bytes) -> npt.NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        return np.asarray(picture.convert("RGBA"))
