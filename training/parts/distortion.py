"""Moving and bending pictures while they are learned from. Knows no recipe and no data.

Floats ``[B, C, H, W]`` in and out, on their own device, drawn from torch's seeded generator.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def distort(images: Tensor, strength: float) -> Tensor:
    """Turn, stretch, slant, move and bend each of ``[B, 1, H, W]`` in its own way.

    At strength 1: ±12°, ±12 %, ±0.2, ±1.4 pixels, and bends of 0.05 half-widths (0.7 pixels)
    on a 5 × 5 lattice: customary sizes for handwriting, not tuned.
    """
    if strength == 0:
        return images
    rows, device = len(images), images.device

    def spread(most: float) -> Tensor:
        return (torch.rand(rows, device=device) * 2 - 1) * most * strength

    turn, slant = spread(math.radians(12)), spread(0.2)
    wide, high = spread(0.12).exp(), spread(0.12).exp()
    matrix = torch.stack(  # [B, 2, 3]
        [
            torch.stack([turn.cos() * wide, (slant - turn.sin()) * wide, spread(0.1)], 1),
            torch.stack([turn.sin() * high, turn.cos() * high, spread(0.1)], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)  # [B, H, W, 2]
    lattice = torch.randn(rows, 2, 5, 5, device=device) * 0.05 * strength
    bend = F.interpolate(lattice, images.shape[-2:], mode="bicubic", align_corners=True)
    return F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def shift(images: Tensor, most: int = 2) -> Tensor:
    """Move each picture by up to ``most`` pixels. The discriminator never sees one in place, real
    or drawn, so it cannot learn the few thousand by heart (Zhao et al. 2020, DiffAugment).
    """
    rows, _, height, width = images.shape
    device = images.device
    down, right = torch.randint(0, 2 * most + 1, (2, rows, 1), device=device)
    y = down + torch.arange(height, device=device)  # [B, H]
    x = right + torch.arange(width, device=device)  # [B, W]
    row = torch.arange(rows, device=device)[:, None, None]
    padded = F.pad(images, (most, most, most, most))
    moved = padded[row, :, y[:, :, None], x[:, None, :]]  # [B, H, W, C]
    return moved.permute(0, 3, 1, 2)
