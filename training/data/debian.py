"""The files inside a Debian package, read without installing it: ``ar`` around a tar (deb(5))."""

import io
import tarfile
from pathlib import Path

from training.errors import DataError

MAGIC = b"!<arch>\n"
HEADER_BYTES = 60


def contents(path: Path) -> tarfile.TarFile:
    """What the package would install, by paths such as ``./usr/share/…``. Raises DataError."""
    package = path.read_bytes()
    if not package.startswith(MAGIC):
        raise DataError(f"{path}: expected a Debian package; it does not begin as one")
    place = len(MAGIC)
    while place + HEADER_BYTES <= len(package):
        header = package[place : place + HEADER_BYTES]
        name, size = header[:16].decode("ascii").strip(" /"), int(header[48:58])
        place += HEADER_BYTES
        if name.startswith("data.tar"):
            return tarfile.open(fileobj=io.BytesIO(package[place : place + size]))
        place += size + size % 2  # members begin at even places
    raise DataError(f"{path}: expected a Debian package; it has no data.tar")
