"""The two halves of a GAN that paints what attributes ask for. Knows no recipe and no data.

Sides are 8 times a whole number. The discriminator has spectral norm (Miyato et al. 2018) and a
projection (Miyato and Koyama 2018); the generator is told noise and attributes at every size, as in
self-modulation (Chen et al. 2019, arXiv 1810.01365).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

STEPS = 8
"""The picture's side is that of the first layer times this."""
EMBEDDING = 16
HIDDEN = 128


class Embeddings(nn.Module):
    """Places ``[B, A]`` of each attribute's value → ``[B, A · 16]``"""

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count, EMBEDDING) for count in counts)
        self.size = EMBEDDING * len(counts)

    def forward(self, places: Tensor) -> Tensor:
        parts = [table(places[:, at]) for at, table in enumerate(self.tables)]
        return torch.cat(parts, 1)


class StyledNorm(nn.Module):
    """Batch norm whose scale and shift depend on a style ``[B, S]``."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.style = nn.Linear(style, 2 * channels)
        nn.init.normal_(self.style.weight, std=0.05)
        nn.init.zeros_(self.style.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)  # [B, C, 1, 1] each
        styled: Tensor = self.norm(x) * (1 + scale) + shift
        return styled


class Generator(nn.Module):
    """Noise ``[B, Z]`` and places ``[B, A]`` → pictures ``[B, 3, side, side]`` from 0 to 1."""

    def __init__(self, noise: int, width: int, counts: Sequence[int], side: int) -> None:
        super().__init__()
        self.attributes = Embeddings(counts)
        style, self.start = noise + self.attributes.size, side // STEPS
        channels = [8 * width, 4 * width, 2 * width, width]
        self.dense = nn.Linear(style, channels[0] * self.start**2, bias=False)
        self.norms = nn.ModuleList(StyledNorm(count, style) for count in channels)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False)
            for wide, narrow in pairwise(channels)
        )
        self.colours = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, noise: Tensor, places: Tensor) -> Tensor:
        style = torch.cat([noise, self.attributes(places)], 1)
        x = self.dense(style).unflatten(1, (-1, self.start, self.start))
        for norm, up in zip(self.norms, self.ups, strict=False):
            x = up(norm(x, style).relu())
        pixels: Tensor = self.colours(self.norms[-1](x, style).relu()).sigmoid()
        return pixels


def looks(width: int, side: int) -> nn.Sequential:
    """Pictures ``[B, 3, side, side]`` from 0 to 1 → features ``[B, 128]``"""
    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, width, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(4 * width, 8 * width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        spectral_norm(nn.Linear(8 * width * (side // STEPS) ** 2, HIDDEN)),
        nn.LeakyReLU(0.2),
    )


class Discriminator(nn.Module):
    """Pictures and the places they are to show → how real ``[B]``, and what is read off them: one
    ``[B, values]`` for each attribute.
    """

    def __init__(self, width: int, counts: Sequence[int], side: int) -> None:
        super().__init__()
        self.features = looks(width, side)
        self.real = spectral_norm(nn.Linear(HIDDEN, 1))
        self.fits = nn.ModuleList(spectral_norm(nn.Embedding(count, HIDDEN)) for count in counts)
        self.reads = nn.ModuleList(nn.Linear(HIDDEN, count) for count in counts)

    def forward(self, images: Tensor, places: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.features(2 * images - 1)  # [B, 128]
        wanted = sum(table(places[:, at]) for at, table in enumerate(self.fits))
        return self.real(x)[:, 0] + (x * wanted).sum(1), [read(x) for read in self.reads]
