"""A picture into another of the same size, whatever that is, and the critic of its small patches.

The net of Johnson et al. 2016 (arXiv 1603.08155), with instance norm (Ulyanov et al. 2016, arXiv
1607.08022), made small; enlarging repeats pixels before a convolution, which leaves no chequers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Layer(nn.Module):
    """Convolution, instance norm and, unless told otherwise, ReLU. Edges are repeated outwards, so
    that a picture of a single pixel is a picture too.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, bent: bool = True
    ) -> None:
        super().__init__()
        self.edge = kernel // 2
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, bias=False)
        self.scale = nn.Parameter(torch.ones(outputs, 1, 1))
        self.shift = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.bent = bent

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(F.pad(x, (self.edge,) * 4, mode="replicate"))
        centred = x - x.mean((2, 3), keepdim=True)
        spread = (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        styled: Tensor = centred / spread * self.scale + self.shift
        return styled.relu() if self.bent else styled


class Residual(nn.Module):
    """Two layers beside a straight way."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Layer(channels, channels), Layer(channels, channels, bent=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


class Stylist(nn.Module):
    """Pictures ``[B, 3, H, W]`` from 0 to 1 → the same, restyled."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.to_whole = Layer(3, width, 7)
        self.to_half = Layer(width, 2 * width, stride=2)
        self.to_quarter = Layer(2 * width, 4 * width, stride=2)
        self.middle = nn.Sequential(*[Residual(4 * width) for _ in range(blocks)])
        self.back_half = Layer(4 * width, 2 * width)
        self.back_whole = Layer(2 * width, width)
        self.colours = nn.Conv2d(width, 3, 7)

    def forward(self, images: Tensor) -> Tensor:
        whole = self.to_whole(2 * images - 1)
        half = self.to_half(whole)
        x = self.middle(self.to_quarter(half))
        # To the sizes there were: an odd side has no half.
        x = self.back_half(F.interpolate(x, size=half.shape[2:], mode="nearest"))
        x = self.back_whole(F.interpolate(x, size=whole.shape[2:], mode="nearest"))
        made: Tensor = self.colours(F.pad(x, (3,) * 4, mode="replicate")).sigmoid()
        return made


class PatchCritic(nn.Module):
    """How much each patch of 22 × 22 pixels looks like one of the style: ``[B, 1, H/4, W/4]``.

    Isola et al. 2017 (arXiv 1611.07004), with spectral norm.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(3, width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 1, 4, padding=1)),
        )

    def forward(self, images: Tensor) -> Tensor:
        real: Tensor = self.layers(2 * images - 1)
        return real
