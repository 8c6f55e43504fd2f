"""How good an alarm is on recordings it has not seen. Knows no model.

Windows of one recording are much alike, so an alarm set on those that were learned from rings at
the next sound recording. It is set across recordings here: one scorer for each half of what there
is to learn from, the threshold where so many windows of the *other* half are above it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure

from model_store.spec import Array

Scorer: TypeAlias = Callable[[Array], Array]
"""Windows float32 ``[N, T]`` → scores ``[N]``, the larger the stranger."""
PCA_SIZE = 16
USED = 0.8  # of the spectrum; filters begin above


@dataclass(frozen=True)
class Rotation:
    """Windows: two halves to learn from, sound ones held out, and each faulty recording's."""

    halves: tuple[Array, Array]
    held_out: Array
    faulty: Mapping[str, Array]

    @property
    def known(self) -> Array:
        return np.concatenate(self.halves)


@dataclass(frozen=True)
class Verdict:
    """Scores of one rotation, as recorded and with white noise as loud as each window (0 dB)."""

    threshold: float
    sound: Array
    faulty: dict[str, Array]
    noisy_sound: Array
    noisy_faulty: dict[str, Array]

    @property
    def caught(self) -> dict[str, float]:
        """Share of each faulty recording's windows that raise an alarm."""
        return {name: float((got > self.threshold).mean()) for name, got in self.faulty.items()}


def threshold(one: Scorer, other: Scorer, rotation: Rotation, rate: float) -> float:
    """``one`` learned from the first half, ``other`` from the second."""
    first, second = rotation.halves
    strange = np.concatenate([one(second), other(first)])
    return float(np.quantile(strange, 1 - rate))


def judge(scorer: Scorer, limit: float, rotation: Rotation, seed: int) -> Verdict:
    rng = np.random.default_rng(seed)
    return Verdict(
        limit,
        scorer(rotation.held_out),
        {name: scorer(part) for name, part in rotation.faulty.items()},
        scorer(with_noise(rotation.held_out, rng)),
        {name: scorer(with_noise(part, rng)) for name, part in rotation.faulty.items()},
    )


def with_noise(windows: Array, rng: np.random.Generator) -> Array:
    """White noise of the same mean square as each of ``[N, T]``: 0 dB."""
    loud = np.sqrt(np.square(windows).mean(1, keepdims=True))
    noise = rng.standard_normal(windows.shape, dtype=np.float32)
    noisy: Array = windows + loud * noise
    return noisy


def metrics(verdicts: Sequence[Verdict], alike: Sequence[str]) -> dict[str, float]:
    """Of all rotations; a ``worst`` one is of one recording in one rotation."""
    alarms = [float((verdict.sound > verdict.threshold).mean()) for verdict in verdicts]
    found = {
        "caught_in_worst_recording": min(min(verdict.caught.values()) for verdict in verdicts),
        "false_alarm_rate": fmean(alarms),
        "worst_false_alarm_rate": max(alarms),
        "roc_auc": fmean(_auc(v.sound, list(v.faulty.values())) for v in verdicts),
        "noisy_roc_auc": fmean(_auc(v.noisy_sound, list(v.noisy_faulty.values()))
                               for v in verdicts),
        "worst_noisy_roc_auc": min(_auc(v.noisy_sound, [part]) for v in verdicts
                                   for part in v.noisy_faulty.values()),
    }  # fmt: skip
    noisy = [float((verdict.noisy_sound > verdict.threshold).mean()) for verdict in verdicts]
    found["noisy_false_alarm_rate"] = fmean(noisy)
    if alike:
        found["caught_at_same_load"] = fmean(fmean(v.caught[n] for n in alike) for v in verdicts)
        found["roc_auc_at_same_load"] = fmean(
            _auc(v.sound, [v.faulty[name] for name in alike]) for v in verdicts
        )
    return found


def _auc(sound: Array, faulty: Sequence[Array]) -> float:
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([sound, *faulty])
    return float(roc_auc_score(np.arange(len(scores)) >= len(sound), scores))


def kurtosis(windows: Array) -> Array:
    """Blows make few samples large: the customary sign of a broken bearing."""
    centred = windows - windows.mean(1, keepdims=True)
    square = np.square(centred)
    peaked: Array = np.square(square).mean(1) / (np.square(square.mean(1)) + 1e-30)
    return peaked


def rms(windows: Array) -> Array:
    """How loud it is."""
    loud: Array = np.sqrt(np.square(windows).mean(1))
    return loud


def pca(known: Array, look: Callable[[Array], Array]) -> Scorer:
    """What is left beside the main directions of ``known``. ``look``: windows ``[N, T]`` → the
    numbers that are looked at ``[N, F]``.
    """
    from sklearn.decomposition import PCA

    rows = look(known)
    centre, spread = rows.mean(0), rows.std(0) + 1e-6
    size = min(PCA_SIZE, *rows.shape)
    main = PCA(size, random_state=0).fit((rows - centre) / spread)

    def score(windows: Array) -> Array:
        scaled = (look(windows) - centre) / spread
        left: Array = np.square(scaled - main.inverse_transform(main.transform(scaled))).mean(1)
        return left

    return score


def log_spectrum(windows: Array) -> Array:
    length = windows.shape[1]
    power = np.square(np.abs(np.fft.rfft(windows * np.hanning(length), axis=1)))
    logs: Array = np.log(power[:, 1 : int(USED * length / 2)] + 1e-9)
    return logs


def strips(verdicts: Sequence[Verdict]) -> Figure:
    """Scores of the last rotation, recording by recording, and where the alarm is."""
    verdict = verdicts[-1]
    shown = {"sound, held out": verdict.sound, **verdict.faulty}
    figure = Figure(figsize=(6.4, 0.24 * len(shown) + 1.2))
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for place, scores in enumerate(shown.values()):
        heights = place + rng.uniform(-0.3, 0.3, len(scores))
        axes.plot(scores, heights, ".", markersize=2, alpha=0.6)
    axes.axvline(verdict.threshold, color="black", linestyle="--")
    axes.set_yticks(range(len(shown)), list(shown), fontsize=7)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="score of a window (1: a usual sound one); dashed: the alarm")
    return figure


def table(verdicts: Sequence[Verdict]) -> str:
    """Markdown: how many windows of each recording raise an alarm, rotation by rotation."""
    head = "| recording | " + " | ".join(f"rotation {n + 1}" for n in range(len(verdicts))) + " |"
    rows = [head, "|---" * (len(verdicts) + 1) + "|"]
    told = [{"sound, held out": float((v.sound > v.threshold).mean()), **v.caught}
            for v in verdicts]  # fmt: skip
    rows += [
        f"| {name} | " + " | ".join(f"{shares[name]:.1%}" for shares in told) + " |"
        for name in told[0]
    ]
    return "Share of windows that raise an alarm:\n\n" + "\n".join(rows)
