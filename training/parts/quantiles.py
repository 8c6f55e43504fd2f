"""Numbers of any scale and shape → standard normal ones, inside a graph. Knows no model.

What scikit-learn's QuantileTransformer does, as torch operations that ONNX has.
"""

import numpy as np
import torch
from torch import Tensor, nn

from model_store.spec import Array

KNOTS = 256


class QuantileNormal(nn.Module):
    """Each column → a standard normal one, by linear pieces between quantiles of normal rows.

    Outside of them it goes on with the logarithm of the distance, so far out stays far out.
    Written as a sum of ramps because ONNX has no search in a sorted list.
    """

    starts: Tensor  # [F, K]
    widths: Tensor
    slopes: Tensor
    base: Tensor  # [F]
    ends: Tensor
    spread: Tensor

    def __init__(self, normal: Array) -> None:
        """``normal``: float32 ``[N, F]``."""
        super().__init__()
        columns = normal.shape[1]
        for name in ("starts", "widths", "slopes"):
            self.register_buffer(name, torch.zeros(columns, KNOTS))
        for name in ("base", "ends", "spread"):
            self.register_buffer(name, torch.zeros(columns))
        for place in range(columns):
            self._fit(place, normal[:, place])

    def _fit(self, place: int, column: Array) -> None:
        values, counts = np.unique(column, return_counts=True)
        below = (np.cumsum(counts) - counts / 2) / len(column)  # middle of a tie, never 0 or 1
        if len(values) > KNOTS:
            kept = np.searchsorted(below, np.linspace(below[0], below[-1], KNOTS))
            kept = np.unique(kept.clip(0, len(values) - 1))
            values, below = values[kept], below[kept]
        knots = torch.tensor(values, dtype=torch.float64)
        scores = torch.special.ndtri(torch.tensor(below))
        pieces = len(knots) - 1
        self.starts[place, :pieces] = knots[:-1]
        self.widths[place, :pieces] = knots.diff()
        self.slopes[place, :pieces] = scores.diff() / knots.diff()
        self.base[place] = scores[0]
        self.ends[place] = knots[-1]
        self.starts[place, pieces:] = knots[-1]
        # A column that never moved says nothing of its scale: a hundredth of its value, then.
        self.spread[place] = float(column.std()) or abs(float(values[0])) / 100 or 1.0

    def forward(self, values: Tensor) -> Tensor:
        """``[B, F]`` → ``[B, F]``"""
        along = torch.minimum((values[:, :, None] - self.starts).relu(), self.widths)  # [B, F, K]
        over = ((values - self.ends).relu() / self.spread).log1p()
        under = ((self.starts[:, 0] - values).relu() / self.spread).log1p()
        return self.base + (along * self.slopes).sum(2) + over - under
