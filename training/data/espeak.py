"""espeak-ng, a formant synthesiser with many accents and voices, from the wheel espeakng-loader.

Only its library and data are used, in a process of its own; nothing of it is kept here. What it
says is no work derived from it.
"""

import ctypes
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.data import archive, voicebox
from training.data.archive import Archive
from training.data.voicebox import Pcm, Said, Say

ARCHIVE = Archive(
    "espeakng-loader==0.2.4",
    "espeakng_loader-0.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
    size_bytes=10_078_484,
)
SOURCE = "espeak-ng 1.52, a speech synthesiser, from espeakng-loader 0.2.4"
LICENSE = "GPL-3.0-or-later (program, fetched and run; nothing of it is passed on)"
INSTALL = "libespeak-ng1 espeak-ng-data"
LIBRARY = "libespeak-ng.so.1"
ROOT = "espeakng_loader/"
WANTED = (
    LIBRARY, "espeak-ng-data/phon", "espeak-ng-data/intonations", "espeak-ng-data/en_dict",
    "espeak-ng-data/lang/gmw/en", "espeak-ng-data/voices/!v/",
)  # fmt: skip
WORDS_A_MINUTE, MIDDLE_PITCH = 175, 50
CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p
)
SYNCHRONOUS, UTF8, RATE, PITCH = 2, 1, 1, 3


def say(wishes: Sequence[Say]) -> list[Said]:
    """Voices are an accent and a variant, such as ``en-us+f3``. Raises DataError."""
    folder = unpacked() if voicebox.has_libraries() else None
    return voicebox.ask("training.data.espeak", folder, wishes, INSTALL)


def unpacked() -> Path:
    """Library and English data, from this user's cache. Raises DataError."""
    package = archive.fetch(ARCHIVE)
    folder = archive.cache_folder() / "espeakng-loader-0.2.4"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            with zipfile.ZipFile(package) as wheel:
                names = [name for name in wheel.namelist() if name.startswith(ROOT)]
                parts = tuple(ROOT + part for part in WANTED)
                wheel.extractall(made, [name for name in names if name.startswith(parts)])
            archive.settle(Path(made) / ROOT, folder)
    return folder


def main() -> None:
    """The process of its own."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    library = ctypes.CDLL(str(folder / LIBRARY) if folder else LIBRARY)
    heard: list[Pcm] = []

    def listen(samples: "ctypes._Pointer[ctypes.c_int16]", count: int, _: object) -> int:
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(folder).encode() if folder else None, 0)
    if rate <= 0:
        raise SystemExit("espeak_Initialize found no data")
    callback = CALLBACK(listen)  # kept, as the library does not keep it
    library.espeak_SetSynthCallback(callback)

    def one(wish: Say) -> Said:
        heard.clear()
        if library.espeak_SetVoiceByName(wish.voice.encode()):
            raise SystemExit(f"no voice {wish.voice!r}")
        if hasattr(library, "espeak_ng_SetRandSeed"):  # not in 1.51
            library.espeak_ng_SetRandSeed(1)  # breath is noise
        library.espeak_SetParameter(RATE, round(WORDS_A_MINUTE * wish.speed), 0)
        library.espeak_SetParameter(PITCH, round(min(99, MIDDLE_PITCH * wish.pitch)), 0)
        text = wish.text.encode()
        library.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8, None, None)
        return Said(np.concatenate(heard) if heard else np.zeros(0, np.int16), rate)

    voicebox.serve(one)


if __name__ == "__main__":
    main()
