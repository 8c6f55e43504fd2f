"""Vibration → how loud each band is and how unsteadily, inside a graph. Knows no recipe, no data.

The Fourier transform is a product with sines and cosines, which every runtime has.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FRAME, HOP = 256, 128
BANDS, BINS = 50, 2  # bins a band; up to 0.8 of half the sampling rate, where filters begin
SIZE = 2 * BANDS
TOLD = 10
"""Parts that a score is told in: five wide bands' levels, then their unsteadiness."""
TINY, FLOOR = 1e-30, 1e-9
"""Bounds and not summands: the exporter takes the addition of so little for none."""


class Spectrum(nn.Module):
    """The level of each band, and how far it strays from frame to frame, in natural logarithms.

    Levels are relative to one another, so neither loudness nor the sensor's unit counts, and white
    noise hides less: a fault's blows still make the bands unsteady.
    """

    waves: Tensor  # [2·K, 1, FRAME]

    def __init__(self) -> None:
        super().__init__()
        time = torch.arange(FRAME, dtype=torch.float64)
        angles = 2 * math.pi / FRAME * torch.arange(1, BANDS * BINS + 1)[:, None] * time
        waves = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(
            FRAME, periodic=False, dtype=torch.float64
        )
        self.register_buffer("waves", waves.float()[:, None])

    def forward(self, series: Tensor) -> Tensor:
        """``[B, T, 1]`` → ``[B, SIZE]``"""
        x = series[:, :, 0]
        x = x / x.abs().amax(1, keepdim=True).clamp(min=TINY)
        x = (x - x.mean(1, keepdim=True))[:, None]
        real, imaginary = F.conv1d(x, self.waves, stride=HOP).chunk(2, 1)  # [B, K, frames]
        power = real.square() + imaginary.square()
        bands = power.unflatten(1, (BANDS, BINS))  # type: ignore[no-untyped-call]
        power = bands.mean(2)  # [B, BANDS, frames]
        logs = (power / power.mean((1, 2), keepdim=True).clamp(min=TINY)).clamp(min=FLOOR).log()
        level = logs.mean(2)
        stray = (logs - level[:, :, None]).square().mean(2).sqrt()
        return torch.cat([level - level.mean(1, keepdim=True), stray], 1)


class Standard(nn.Module):
    """Each number → 0 on average and of spread 1 over the rows it was made with."""

    centre: Tensor  # [F]
    spread: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", rows.mean(0))
        self.register_buffer("spread", rows.std(0) + 1e-6)

    def forward(self, rows: Tensor) -> Tensor:
        """``[B, F]`` → ``[B, F]``"""
        return (rows - self.centre) / self.spread


def told(rate_hz: float) -> tuple[str, ...]:
    """What the :data:`TOLD` parts are called."""
    width = BANDS * BINS / FRAME * rate_hz / (TOLD // 2) / 1000
    bands = [f"{place * width:.1f}–{(place + 1) * width:.1f} kHz" for place in range(TOLD // 2)]
    return tuple(f"{kind} {band}" for kind in ("level", "unsteadiness") for band in bands)


def groups() -> Tensor:
    """``[SIZE, TOLD]``: 1 where a band is in a part."""
    part = torch.arange(SIZE) // (SIZE // TOLD)
    return F.one_hot(part, TOLD).float()
