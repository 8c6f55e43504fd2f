"""A speech synthesiser in a process of its own: a list of things to say in, their samples out.

The synthesisers are libraries in C with one global state; whatever they do, this process lives on.
Knows no synthesiser.
"""

import json
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from training.errors import DataError

HEAD = struct.Struct("<ii")
"""Samples a second, and how many."""
TIMEOUT_S = 1_200
Pcm: TypeAlias = npt.NDArray[np.int16]


class Say(NamedTuple):
    """``speed`` and ``pitch`` are multiples of the voice's own."""

    voice: str
    text: str
    speed: float = 1.0
    pitch: float = 1.0


class Said(NamedTuple):
    """int16 ``[samples]``, and how many there are a second."""

    samples: Pcm
    rate: int


def has_libraries() -> bool:
    """Whether those in the registries' archives run here; elsewhere the system's are looked for."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def ask(module: str, folder: Path | None, wishes: Sequence[Say], install: str) -> list[Said]:
    """Have ``python -m module folder`` say them all. ``install``: what brings the library where it
    is not there. Raises DataError.
    """
    command = [sys.executable, "-m", module, *([str(folder)] if folder else [])]
    package_root = Path(__file__).parents[2]
    found = [str(package_root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(found)}
    if folder:
        environment["LD_LIBRARY_PATH"] = str(folder)
    try:
        run = subprocess.run(  # noqa: S603 - our own module
            command, input=json.dumps(wishes).encode(), capture_output=True, check=False,
            timeout=TIMEOUT_S, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DataError(f"{module}: expected {len(wishes):,} clips in {TIMEOUT_S} s") from None
    clips = list(_read(run.stdout))
    if run.returncode or len(clips) != len(wishes):
        words = run.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise DataError(
            f"{module}: expected {len(wishes):,} clips; got {len(clips):,} (status"
            f" {run.returncode}); it said: {words[-1]}; where a library is missing,"
            f" `apt-get install {install}` brings it"
        )
    return clips


def serve(say: Callable[[Say], Said]) -> None:
    """The other end: read the list, write each clip."""
    for wish in json.load(sys.stdin):
        samples, rate = say(Say(*wish))
        sys.stdout.buffer.write(HEAD.pack(rate, len(samples)) + samples.astype("<i2").tobytes())


def _read(stream: bytes) -> list[Said]:
    """The clips that are there as a whole."""
    clips, place = [], 0
    while place + HEAD.size <= len(stream):
        rate, count = HEAD.unpack_from(stream, place)
        place += HEAD.size
        if place + 2 * count > len(stream):
            break
        clips.append(Said(np.frombuffer(stream, "<i2", count, place), rate))
        place += 2 * count
    return clips
