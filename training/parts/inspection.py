"""Finding the odd place in a picture, on what a pretrained CNN sees of it. Knows no recipe.

A picture is G × G places of D numbers: channels of two blocks of the CNN, drawn at random as PaDiM
does (Defard et al. 2020, arXiv 2011.08785). An autoencoder rebuilds them from a narrow middle. How
unlikely a place is, is the Mahalanobis distance of what it failed to rebuild there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.parts.efficientnet import EfficientNetLite0, scaled

BLOCKS = (10, 14)
"""Every 16 and every 32 pixels."""
WIDTH = 112 + 192
SHRINKAGE = 0.1
STRANGEST = 0.1
"""Share of places whose mean distance is the score: a crack is small."""
REGIONS = tuple(
    f"{row} {column}".strip().replace("middle centre", "centre")
    for row in ("top", "middle", "bottom")
    for column in ("left", "centre", "right")
)


class Maps(nn.Module):
    """uint8 ``[B, 3, H, W]`` → ``[B, D, G, G]``, G being a sixteenth of the side."""

    channels: Tensor

    def __init__(self, backbone: EfficientNetLite0, channels: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("channels", torch.tensor(channels))

    def forward(self, images: Tensor) -> Tensor:
        fine, coarse = self.backbone.maps(scaled(images), BLOCKS)
        size = [fine.shape[2], fine.shape[3]]
        wide = F.interpolate(coarse, size=size, mode="bilinear")
        return torch.cat([fine, wide], 1).index_select(1, self.channels)


class Autoencoder(nn.Module):
    """``[B, D, G, G]`` → what it could not rebuild, each number in units of its own spread."""

    mean: Tensor
    spread: Tensor

    def __init__(self, normal: Tensor, hidden: int, latent: int) -> None:
        """``normal``: maps ``[N, D, G, G]`` to learn from."""
        super().__init__()
        width, self.size = normal.shape[1], normal.shape[2]
        self.register_buffer("mean", normal.mean(0))
        self.register_buffer("spread", normal.std(0) + 1e-3 * normal.std())
        self.encoder = nn.Sequential(
            nn.Conv2d(width, hidden, 1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(hidden, latent, 1),
        )
        self.decoder = nn.ModuleList(nn.Conv2d(n, hidden, 3, 1, 1) for n in (latent, hidden))
        self.last = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, 1, 1), nn.GELU(), nn.Conv2d(hidden, width, 1)
        )

    def normalized(self, maps: Tensor) -> Tensor:
        normal: Tensor = (maps - self.mean) / self.spread
        return normal

    def forward(self, maps: Tensor) -> Tensor:
        rows = self.normalized(maps)
        flow = self.encoder(rows)
        for layer, size in zip(self.decoder, ((self.size + 1) // 2, self.size), strict=True):
            flow = F.interpolate(F.gelu(layer(flow)), size=[size, size], mode="nearest")
        missing: Tensor = rows - self.last(flow)
        return missing


class Gaussians(nn.Module):
    """One for each place: ``[B, D, G, G]`` → squared Mahalanobis distances over D, ``[B, P]``."""

    mean: Tensor
    whiten: Tensor

    def __init__(self, normal: Tensor) -> None:
        """``normal`` ``[N, D, G, G]``: what is usual."""
        super().__init__()
        rows = normal.flatten(2).permute(2, 0, 1)  # [P, N, D]
        self.register_buffer("mean", rows.mean(1, keepdim=True))
        apart = rows - self.mean
        spread = apart.mT @ apart / apart.shape[1]  # [P, D, D]
        # Towards a multiple of one, or few pictures would make directions without any spread.
        usual = spread.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-6
        one = torch.eye(spread.shape[1])
        lower = torch.linalg.cholesky((1 - SHRINKAGE) * spread + SHRINKAGE * usual * one)
        inverse = torch.linalg.solve_triangular(lower, one.expand_as(lower), upper=False)
        self.register_buffer("whiten", inverse.mT.contiguous())

    def forward(self, maps: Tensor) -> Tensor:
        rows = maps.flatten(2).permute(2, 0, 1)
        distances: Tensor = ((rows - self.mean) @ self.whiten).square().mean(2).T
        return distances


def pooled(places: Tensor) -> Tensor:
    """``[B, P]`` → ``[B]``: the mean over the strangest places."""
    return places.topk(_strangest(places.shape[1]), 1).values.mean(1)


def _strangest(places: int) -> int:
    return max(1, round(places * STRANGEST))


class Inspector(nn.Module):
    """What is served: pixels → score ``[B]``, what each region adds ``[B, 9]``, heat map uint8
    ``[B, 1, H, W]``, which is 128 at a place as strange as a picture at the threshold.
    """

    regions: Tensor
    usual: Tensor

    def __init__(self, maps: nn.Module, missing: nn.Module, gaussians: Gaussians) -> None:
        super().__init__()
        self.maps, self.missing, self.gaussians = maps, missing, gaussians
        self.side = round(len(gaussians.mean) ** 0.5)
        third = torch.arange(self.side) * 3 // self.side
        place = (third[:, None] * 3 + third).flatten()
        self.register_buffer("regions", F.one_hot(place, len(REGIONS)).float())  # [P, 9]
        self.register_buffer("usual", torch.ones(()))
        self.threshold = 1.0

    def distances(self, maps: Tensor) -> Tensor:
        """``[B, D, G, G]`` → ``[B, P]``, in units of what is :attr:`usual`."""
        distances: Tensor = self.gaussians(self.missing(maps)) / self.usual
        return distances

    def calibrate(self, normal: Tensor, unseen: Tensor, false_alarm_rate: float) -> None:
        """So that ``normal`` maps score about 1, and that share of ``unseen`` ones, of pictures
        that nothing was fitted to, are above the threshold.
        """
        self.usual = pooled(self.distances(normal)).mean()
        scores = pooled(self.distances(unseen))
        self.threshold = float(scores.quantile(1 - false_alarm_rate))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        distances = self.distances(self.maps(image))
        count = _strangest(distances.shape[1])
        strangest, places = distances.topk(count, 1)
        # [B, K, 9]: in which region each of the strangest places lies
        contributions = (strangest[:, :, None] * self.regions[places]).sum(1) / count
        heat = (distances * (127.5 / self.threshold)).clamp(0, 255)
        heat = heat.view(-1, 1, self.side, self.side)
        heat = F.interpolate(heat, size=[image.shape[2], image.shape[3]], mode="bilinear")
        return strangest.mean(1), contributions, heat.round().to(torch.uint8)
