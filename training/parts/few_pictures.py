"""Reading with few pictures: a small classifier, and what more pictures are worth to it.

Knows no recipe and no generator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.class_folders import Pictures
from training.parts.convolution import pooled_convolution
from training.parts.distortion import distort

LEARNING_RATE = 3e-3
BATCH_SIZE = 64
MADE_SHARE = 0.25  # of a batch


class Reader(nn.Module):
    """Three convolutions, each pooled, and two dense layers: floats ``[N, 1, H, W]`` from 0 to 1
    → scores ``[N, K]``.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *pooled_convolution(1, 8), *pooled_convolution(8, 16), *pooled_convolution(16, 32),
            nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, classes),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores

    def read(self, images: Tensor) -> Tensor:
        """uint8 ``[N, 1, H, W]`` → labels ``[N]``."""
        parts = torch.split(images, 500)
        return torch.cat([self(part.float() / 255).argmax(1) for part in parts])

    def accuracy(self, pictures: Pictures) -> float:
        """How often it reads what the label says."""
        return float((self.read(pictures.images) == pictures.labels).double().mean())


def learned(
    real: Pictures, made: Pictures | None = None, *, strength: float, steps: int, seed: int
) -> Reader:
    """A reader that has learned from ``real`` pictures; where there are ``made`` ones, a share of
    each batch is of them. ``strength`` is the ordinary augmentation's, 0 none. The number of steps,
    the size of a batch and the first weights are the same whatever it learns from.
    """
    added = 0 if made is None else round(BATCH_SIZE * MADE_SHARE)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = Reader(int(real.labels.max()) + 1)
        reader(real.images[:2].float() / 255)  # sizes the lazy layer
        optimizer = torch.optim.AdamW(reader.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for _ in range(steps):
            batch = _drawn(real, BATCH_SIZE - added)
            batch = batch if made is None else batch + _drawn(made, added)
            scores = reader(distort(batch.images.float() / 255, strength))
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(scores, batch.labels))
            optimizer.step()
            schedule.step()
    return reader.eval().requires_grad_(False)


def _drawn(pictures: Pictures, count: int) -> Pictures:
    return pictures[torch.randint(len(pictures), (count,))]


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval by Student's t."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Two values at least."""
        from scipy.stats import t

        mean, count = fmean(values), len(values)
        half = float(t.ppf(0.975, count - 1)) * stdev(values) / sqrt(count)
        return cls(mean, mean - half, mean + half)

    def __str__(self) -> str:
        """In points of a percentage."""
        return f"{self.mean * 100:+.1f} points ({self.low * 100:+.1f} to {self.high * 100:+.1f})"


def intervals(rows: Mapping[str, Sequence[float]]) -> Figure:
    """Accuracies of each way of learning: every draw a dot, the mean and its interval a bar."""
    figure = Figure(figsize=(6, 0.6 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, values in enumerate(rows.values()):
        interval = Interval.of(values)
        axes.plot([100 * value for value in values], [place] * len(values), ".", color="tab:gray")
        axes.errorbar(
            100 * interval.mean, place, fmt="o", capsize=4, color="tab:blue",
            xerr=50 * (interval.high - interval.low),
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axes.invert_yaxis()
    axes.set_xlabel("accuracy on the test pictures, %; mean and 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    return figure
