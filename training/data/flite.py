"""flite, a synthesiser that joins pieces of recorded voices, from Debian's package libflite1.

The package is unpacked, not installed; libasound2, which it is linked to, comes along.
"""

import ctypes
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from training.data import archive, debian, voicebox
from training.data.archive import Archive
from training.data.voicebox import Said, Say

ARCHIVES = {
    "flite": Archive(
        "libflite1=2.2-5",
        "libflite1_2.2-5_amd64.deb",
        "bfa8c591f1b47730b30b372ec38e02918a1c9795eada67684e1746390ad2f061",
        size_bytes=12_823_776,
        registry="debian",
        pool="f/flite",
    ),
    "flite_sound": Archive(
        "libasound2=1.2.8-1+b1",
        "libasound2_1.2.8-1+b1_amd64.deb",
        "44c77b076a7b11ae99712439022d822245b1994c435da564ebd320bb676faf4c",
        size_bytes=361_788,
        registry="debian",
        pool="a/alsa-lib",
    ),
}
SOURCE = "flite 2.2, a speech synthesiser with recorded voices, from Debian's libflite1"
LICENSE = "BSD-like (CMU, flite and its voices); LGPL-2.1-or-later (libasound2)"
INSTALL = "libflite1"
VOICES = ("kal16", "awb", "rms", "slt")
"""Two Americans from diphones and from clauses, a Scot, and a woman, slt."""
MIDDLE_PITCH = 100.0


def say(wishes: Sequence[Say]) -> list[Said]:
    """By the voices in :data:`VOICES`. Raises DataError."""
    folder = unpacked() if voicebox.has_libraries() else None
    return voicebox.ask("training.data.flite", folder, wishes, INSTALL)


def unpacked() -> Path:
    """The libraries, from this user's cache. Raises DataError."""
    packages = [archive.fetch(one) for one in ARCHIVES.values()]
    folder = archive.cache_folder() / "libflite1-2.2-5"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            for package in packages:
                with debian.contents(package) as files:
                    for file in files:
                        target = Path(made) / Path(file.name).name
                        content = files.extractfile(file) if file.isfile() else None
                        if ".so" in file.name and file.issym():
                            target.symlink_to(Path(file.linkname).name)
                        elif ".so" in file.name and content:
                            target.write_bytes(content.read())
            archive.settle(Path(made), folder)
    return folder


class _Wave(ctypes.Structure):
    _fields_: ClassVar = [
        ("kind", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("count", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_int16)),
    ]


class _Voice(ctypes.Structure):
    _fields_: ClassVar = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


def main() -> None:
    """The process of its own."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    library = ctypes.CDLL(str(folder / "libflite.so.1"))
    library.flite_init()
    library.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
    library.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Voice)]
    library.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
    library.get_param_float.argtypes = library.feat_set_float.argtypes
    library.get_param_float.restype = ctypes.c_float
    library.delete_wave.argtypes = [ctypes.POINTER(_Wave)]

    @cache
    def voice_of(name: str) -> tuple[Any, float]:
        """The voice and its own pitch in hertz."""
        register = ctypes.CDLL(str(folder / f"libflite_cmu_us_{name}.so.1"))[
            f"register_cmu_us_{name}"
        ]
        register.restype = ctypes.POINTER(_Voice)
        voice = register(None)
        features = voice.contents.features
        return voice, library.get_param_float(features, b"int_f0_target_mean", MIDDLE_PITCH)

    def one(wish: Say) -> Said:
        voice, pitch = voice_of(wish.voice)
        features = voice.contents.features
        library.feat_set_float(features, b"duration_stretch", 1 / wish.speed)
        library.feat_set_float(features, b"int_f0_target_mean", pitch * wish.pitch)
        wave = library.flite_text_to_wave(wish.text.encode(), voice)
        found = wave.contents
        samples = np.ctypeslib.as_array(found.samples, (found.count,)).copy()
        said = Said(samples, found.rate)
        library.delete_wave(wave)
        return said

    voicebox.serve(one)


if __name__ == "__main__":
    main()
