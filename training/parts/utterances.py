"""What a recogniser of speech learns from and is tested on: recordings with their words, put
together from single words or said in one go, and disturbed as rooms and telephones do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.data import spoken
from training.data.spoken import RATE, Clip, Group, Voice
from training.parts import acoustics

Samples = npt.NDArray[np.float32]
GROUPS: tuple[Group, ...] = ("flite", "variants", "accent")


@dataclass(frozen=True)
class Utterance:
    """float32 ``[samples]`` and what is said. ``spans``: from when to when each word is said, in
    seconds, where that is known. ``group``: which part of a test it belongs to.
    """

    words: tuple[str, ...]
    samples: Samples
    spans: tuple[tuple[float, float], ...] | None = None
    group: str = ""


Bank = list[dict[str, Clip]]
"""Of each voice, every word by itself."""


def bank(voices: Sequence[Voice]) -> Bank:
    """Raises DataError."""
    clips = spoken.say([(voice, (word,)) for voice in voices for word in spoken.WORDS])
    size = len(spoken.WORDS)
    return [
        {clip.words[0]: clip for clip in clips[start : start + size]}
        for start in range(0, len(clips), size)
    ]


def together(rng: np.random.Generator, voices: Bank, group: str = "") -> Utterance:
    """A string of one voice's single words, apart by up to 0.4 s or almost running into another."""
    words = spoken.string(rng)
    voice = voices[rng.integers(len(voices))]
    parts, spans, at = [], [], 0
    for word in words:
        samples = voice[word].samples
        spans.append((at / RATE, (at + len(samples)) / RATE))
        gap = int(RATE * rng.choice([0.0, rng.uniform(0, 0.4)]))
        parts += [samples, np.zeros(gap, dtype=np.float32)]
        at += len(samples) + gap
    return Utterance(words, np.concatenate(parts), tuple(spans), group)


def held_out(rng: np.random.Generator, each: int) -> list[Utterance]:
    """Strings said in one go by voices never learned from, as many by each group."""
    groups = [group for group in GROUPS for _ in range(each)]
    wishes = [(spoken.held_out_voice(rng, group), spoken.string(rng)) for group in groups]
    clips = spoken.say(wishes)
    return [
        quiet_around(Utterance(clip.words, clip.samples, group=group), rng)
        for clip, group in zip(clips, groups, strict=True)
    ]


def quiet_around(one: Utterance, rng: np.random.Generator) -> Utterance:
    """With up to 0.4 s of silence before and after."""
    before, behind = rng.integers(0, int(0.4 * RATE), 2)
    shift = before / RATE
    spans = one.spans and tuple((start + shift, end + shift) for start, end in one.spans)
    return replace(one, samples=np.pad(one.samples, (before, behind)), spans=spans)


def disturbed(one: Utterance, rng: np.random.Generator) -> Utterance:
    """As training hears it: half by another throat, a quarter over a telephone, two in five in a
    room, most with noise.
    """
    one = quiet_around(one, rng)
    samples, spans = one.samples, one.spans
    if rng.random() < 0.5:
        factor = float(rng.uniform(0.82, 1.25))
        samples = acoustics.other_throat(samples, RATE, factor)
        spans = spans and tuple((start / factor, end / factor) for start, end in spans)
    if rng.random() < 0.25:
        samples = acoustics.telephone(samples, RATE)
    if rng.random() < 0.4:
        samples = acoustics.in_room(samples, RATE, rng)
    if rng.random() < 0.6:
        samples = acoustics.with_noise(samples, rng)
    return replace(one, samples=samples, spans=spans)


def noisy(one: Utterance, rng: np.random.Generator) -> Utterance:
    """As it is tested: in a room, and with noise."""
    return replace(
        one, samples=acoustics.with_noise(acoustics.in_room(one.samples, RATE, rng), rng)
    )
