"""Modules of the SWORD project, on one made by hand."""

import io
import tarfile
import zlib

import pytest

from training.data import sword
from training.data.sword import Reference
from training.errors import DataError

GENESIS, MATTHEW = 4, 4
"""Entries before the first verse: two of the testament, one of the book, one of the chapter."""


def package(
    verses: dict[str, dict[int, str]], conf: str = "Versification=KJV\n"
) -> tarfile.TarFile:
    """One block a testament; by testament, number of the entry and its markup."""
    files = {"./usr/share/sword/mods.d/mine.conf": conf.encode()}
    for testament in sword.TESTAMENTS:
        text, entries = b"", [sword.ENTRY.pack(0, 0, 0)] * 10
        for place, markup in verses.get(testament, {}).items():
            entries[place] = sword.ENTRY.pack(0, len(text), len(markup.encode()))
            text += markup.encode()
        packed = zlib.compress(text)
        stem = f"./usr/share/sword/modules/texts/ztext/mine/{testament}"
        files[f"{stem}.bzs"] = sword.BLOCK.pack(0, len(packed), len(text))
        files[f"{stem}.bzv"] = b"".join(entries)
        files[f"{stem}.bzz"] = packed
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    held.seek(0)
    return tarfile.open(fileobj=held)


def test_verses_are_where_the_canon_has_them() -> None:
    made = package({sword.TESTAMENTS[0]: {GENESIS: "En el principio", GENESIS + 2: "sea la luz"},
                    "nt": {MATTHEW: "Libro de la generación"}})  # fmt: skip
    assert sword.verses(made, "mine") == {
        Reference("Genesis", 1, 1): "En el principio",
        Reference("Genesis", 1, 3): "sea la luz",
        Reference("Matthew", 1, 1): "Libro de la generación",
    }


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<w lemma='x'>gave</w> his <w>only</w> born<note n='1'>or <w>sole</w></note><w>Son</w>,",
         "gave his only born Son,"),
        ("<title>Of David</title>The <divineName>Lord</divineName>", "The Lord"),
        ("ejército</w><transChange type='added'>se llamaba</transChange><w>Sísara</w>, y",
         "ejército se llamaba Sísara, y"),
        ("the <transChange>is</transChange>, and", "the is, and"),
        ("one<lb/>\n  two", "one two"),
    ],
)  # fmt: skip
def test_markup_leaves_words_as_they_are_read(markup: str, text: str) -> None:
    assert sword.plain(markup) == text


def test_a_package_without_the_module_is_refused() -> None:
    with pytest.raises(DataError, match=r"other\.conf in the package; it is not there"):
        sword.verses(package({}), "other")
