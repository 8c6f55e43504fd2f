"""Log-mel spectra of audio in blocks, by fixed kernels, so that they are in the graph.

The short-time Fourier transform is a convolution with a window's cosines and sines; each block
sees a little of its neighbours. Nothing depends on how loud a recording is, or on
what is behind its end.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.spec import Array

WINDOW, HOP, BINS = 400, 160, 257
"""25 ms every 10 ms, of 16,000 samples a second; frequencies of a transform of 512."""
BLOCK = 4 * HOP
CONTEXT = (WINDOW - HOP) // 2
FRAMES = BLOCK // HOP
"""A block."""
FLOOR = 1e-4
"""Of a power whose mean is 1: what is 40 dB below the recording is silence."""


class LogMel(nn.Module):
    """Audio ``[B, T, BLOCK]`` and mask ``[B, T]`` → ``[B, T, FRAMES · bands]``, each band's mean
    over the recording taken off, 0 beyond its end.
    """

    waves: Tensor  # [2 · BINS, 1, WINDOW]
    bands: Tensor  # [bands, BINS]

    def __init__(self, bands: int, rate: int) -> None:
        super().__init__()
        self.size = bands
        phase = 2 * np.pi * np.outer(np.arange(BINS), np.arange(WINDOW)) / (2 * (BINS - 1))
        waves = np.concatenate([np.cos(phase), np.sin(phase)]) * np.hanning(WINDOW)
        waves /= np.sqrt(np.square(np.hanning(WINDOW)).sum())  # white noise of power 1 gives 1
        self.register_buffer("waves", torch.tensor(waves[:, None], dtype=torch.float32))
        self.register_buffer("bands", torch.tensor(mel_bands(bands, rate), dtype=torch.float32))

    def forward(self, audio: Tensor, mask: Tensor) -> Tensor:
        blocks = mask.sum(1).clamp(min=1)
        power = audio.square().sum((1, 2)) / (blocks * BLOCK)
        # A bound and not a summand: the exporter takes the addition of so little for none.
        audio = audio / power.clamp(min=1e-10).sqrt()[:, None, None]
        before = F.pad(audio[:, :-1, -CONTEXT:], (0, 0, 1, 0))
        behind = F.pad(audio[:, 1:, :CONTEXT], (0, 0, 0, 1))
        wide = torch.cat([before, audio, behind], dim=2)  # [B, T, BLOCK + 2 · CONTEXT]
        waves = F.conv1d(wide.flatten(0, 1)[:, None], self.waves, stride=HOP)
        powers = waves[:, :BINS].square() + waves[:, BINS:].square()  # [B · T, BINS, FRAMES]
        mel = (self.bands @ powers + FLOOR).log().transpose(1, 2).flatten(1)
        mel = mel.reshape(*mask.shape, -1) * mask[..., None]
        means = mel.sum(1).reshape(-1, FRAMES, self.size).mean(1) / blocks[:, None]
        found: Tensor = (mel - means.repeat(1, FRAMES)[:, None]) * mask[..., None]
        return found


def mel_bands(bands: int, rate: int, least_hz: float = 60) -> Array:
    """Triangles of equal width in mel (O'Shaughnessy 1987), each of area 1: ``[bands, BINS]``."""

    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    corners = 700 * (10 ** (np.linspace(mel(least_hz), mel(rate / 2), bands + 2) / 2595) - 1)
    at = np.linspace(0, rate / 2, BINS)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rise, fall = (at - left) / (middle - left), (right - at) / (right - middle)
    triangles = np.maximum(0, np.minimum(rise, fall))
    # A band narrower than the bins are apart would be empty.
    nearest = np.abs(at - middle).argmin(1)
    triangles[np.arange(bands), nearest] = np.maximum(triangles[np.arange(bands), nearest], 0.1)
    areas: Array = triangles / triangles.sum(1, keepdims=True)
    return areas
