"""What pip is to install for some extras, one requirement a line: ``wanted.py serve,train``."""

# ruff: noqa: T201 - it speaks by printing

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The base ones and those of each extra. Raises KeyError for an extra that is not there."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


if __name__ == "__main__":
    try:
        print(*requirements(Path("pyproject.toml"), sys.argv[1].split(",")), sep="\n")
    except KeyError as missing:
        sys.exit(f"EXTRA: pyproject.toml has no extra {missing}")
