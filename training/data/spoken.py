"""Digits and letters as synthetic voices say them: single words and strings of them, by voices to
learn from, voices to stop by and voices that are held out as a whole.

No corpus of real speakers is in a package, so nothing here says how well real ones are heard.
Knows no model.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from training.data import archive, espeak, flite
from training.data.voicebox import Pcm, Said, Say

Samples: TypeAlias = npt.NDArray[np.float32]
RATE = 16_000
SOURCE = f"{espeak.SOURCE}; {flite.SOURCE}"
LICENSE = f"{espeak.LICENSE}; {flite.LICENSE}"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
WORDS = (*DIGITS, *LETTERS)
ENGINES = {"espeak": espeak.say, "flite": flite.say}
SPELLINGS = {("espeak", "a"): "eh", ("flite", "a"): "ay"}
"""What makes them say the letter and not the article."""

ACCENTS = ("en", "en-us", "en-029", "en-gb-x-rp", "en-gb-x-gbclan")
"""Left out: en-us-nyc, which is en-us but for a few vowels no word here has; en-gb-x-gbcwmd, whose
e is the others' a.
"""
HELD_OUT_ACCENT = "en-gb-scotland"
VARIANTS = (
    "", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m8", "+f1", "+f3", "+f5", "+klatt", "+klatt3",
    "+klatt4", "+Alex", "+Andrea", "+Annie", "+Denis", "+Gene", "+Hugo", "+Jacky", "+Lee", "+Mario",
    "+Michael", "+Reed", "+belinda", "+linda", "+max", "+robert", "+steph", "+pablo",
)  # fmt: skip
"""Those that are near to each other or to the plain voice (fast, klatt2, klatt5, klatt6, adam) are
out, and robots and whispers.
"""
STOPPING_VARIANTS = ("+f2", "+Andy")
HELD_OUT_VARIANTS = ("+m7", "+f4", "+Alicia", "+Mike", "+ian", "+shelby")
FLITE_VOICES = ("kal16", "awb", "slt")
HELD_OUT_FLITE = "rms"

Group = Literal["flite", "variants", "accent"]
"""Whom a held-out string is by: flite's voice held out; variants held out, in accents that were
learned from; the same variants in the accent held out.
"""


class Voice(NamedTuple):
    """Who says it, and how."""

    engine: str
    name: str
    speed: float
    pitch: float


@dataclass(frozen=True)
class Clip:
    """float32 ``[samples]`` at :data:`RATE`, full scale 1, silence around it cut off."""

    words: tuple[str, ...]
    samples: Samples
    voice: Voice


def known_voice(rng: np.random.Generator) -> Voice:
    """To learn from. Two in five are flite's: recorded voices vary in what formants do not."""
    if rng.random() < 0.4:
        return _voice(rng, "flite", [*FLITE_VOICES], [""])
    return _voice(rng, "espeak", ACCENTS, VARIANTS)


def stopping_voice(rng: np.random.Generator) -> Voice:
    return _voice(rng, "espeak", ACCENTS, STOPPING_VARIANTS)


def held_out_voice(rng: np.random.Generator, group: Group) -> Voice:
    if group == "flite":
        return _voice(rng, "flite", [HELD_OUT_FLITE], [""])
    if group == "accent":
        return _voice(rng, "espeak", [HELD_OUT_ACCENT], HELD_OUT_VARIANTS)
    return _voice(rng, "espeak", ACCENTS, HELD_OUT_VARIANTS)


def _voice(
    rng: np.random.Generator, engine: str, accents: Sequence[str], variants: Sequence[str]
) -> Voice:
    name = f"{rng.choice(accents)}{rng.choice(variants)}"
    speed, pitch = rng.uniform(0.75, 1.35), rng.uniform(0.8, 1.25)
    return Voice(engine, name, round(float(speed), 3), round(float(pitch), 3))


def string(rng: np.random.Generator, most: int = 8) -> tuple[str, ...]:
    """One to ``most`` words: digits, letters, or both."""
    source = (DIGITS, LETTERS, WORDS)[rng.choice(3, p=[0.35, 0.3, 0.35])]
    return tuple(str(word) for word in rng.choice(source, rng.integers(1, most + 1)))


def say(wishes: Sequence[tuple[Voice, tuple[str, ...]]]) -> list[Clip]:
    """Each said in one go, from this user's cache if it was said before. Raises DataError."""
    said: dict[int, Samples] = {}
    for engine in ENGINES:
        places = [place for place, (voice, _) in enumerate(wishes) if voice.engine == engine]
        texts = [_say(*wishes[place]) for place in places]
        said.update(zip(places, _kept(engine, texts), strict=True))
    return [Clip(words, said[place], voice) for place, (voice, words) in enumerate(wishes)]


def _say(voice: Voice, words: tuple[str, ...]) -> Say:
    spelled = [SPELLINGS.get((voice.engine, word), word) for word in words]
    return Say(voice.name, " ".join(spelled), voice.speed, voice.pitch)


def _kept(engine: str, wishes: list[Say]) -> list[Samples]:
    """The clips of one engine; int16 in a file named by all that they depend on."""
    if not wishes:
        return []
    facts = json.dumps([SOURCE, RATE, engine, wishes]).encode()
    path = archive.cache_folder() / f"spoken-{hashlib.sha256(facts).hexdigest()[:16]}.npz"
    if not path.exists():
        clips = [_finish(said) for said in ENGINES[engine](wishes)]
        _keep(path, clips)
    with np.load(path) as file:
        ends, samples = file["ends"], file["samples"]
    return [(part / 32768).astype(np.float32) for part in np.split(samples, ends[:-1])]


def _keep(path: Path, clips: list[Pcm]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, then one rename: two runs at a time must not read half a file.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        np.savez(made, ends=np.cumsum([len(clip) for clip in clips]), samples=np.concatenate(clips))
        made.replace(path)


def _finish(said: Said) -> Pcm:
    """Resampled, as loud as all others, without the silence before and after."""
    import soxr

    samples = soxr.resample(said.samples.astype(np.float32), said.rate, RATE)
    loudest = float(np.abs(samples).max(initial=1.0))
    heard = np.flatnonzero(np.abs(samples) > 0.02 * loudest)
    margin = RATE // 50  # the onset of an f is softer than that
    if len(heard):
        samples = samples[max(0, heard[0] - margin) : heard[-1] + margin]
    finished: Pcm = (samples * (16_000 / loudest)).astype(np.int16)
    return finished
