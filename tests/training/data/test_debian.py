"""Reading Debian packages without installing them."""

import io
import tarfile
from pathlib import Path

import pytest

from training.data.debian import contents
from training.errors import DataError


def member(name: str, data: bytes) -> bytes:
    """As ``ar`` writes it (deb(5))."""
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
    return header.encode() + data + b"\n" * (len(data) % 2)


def package(folder: Path, *members: bytes) -> Path:
    path = folder / "data_1.0-1_all.deb"
    path.write_bytes(b"!<arch>\n" + b"".join(members))
    return path


@pytest.mark.parametrize("form", ["gz", "xz"])
def test_files_of_a_package_are_read(tmp_path: Path, form: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{form}") as tar:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("./usr/share/data/verses")
        entry.size = 9
        tar.addfile(entry, io.BytesIO(b"In the be"))
    path = package(
        tmp_path,
        member("debian-binary", b"2.0\n"),
        member("control.tar.xz", b"odd"),
        member(f"data.tar.{form}", packed.getvalue()),
    )

    with contents(path) as found:
        verses = found.extractfile("./usr/share/data/verses")
        assert verses
        assert verses.read() == b"In the be"


def test_what_is_no_package_is_refused_by_name(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>")

    with pytest.raises(DataError, match=r"page\.html: expected a Debian package"):
        contents(page)
    with pytest.raises(DataError, match=r"it has no data\.tar"):
        contents(package(tmp_path, member("debian-binary", b"2.0\n")))
