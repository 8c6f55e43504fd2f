"""Rows of numbers and words → numbers of one scale, inside a graph. Knows no recipe and no data."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model_store.inputs.table import Column
from model_store.spec import Array
from training.parts.quantiles import QuantileNormal


class MixedColumns(nn.Module):
    """Numbers become standard normal ones, and a word a one among zeros: its column of ``[F]``
    becomes as many as it has categories. The numbers come first.
    """

    places: Tensor  # int64, where the numbers are
    groups: Tensor  # [G, F], 1 where number G is told of column F

    def __init__(self, columns: Sequence[Column], normal: Array) -> None:
        """``normal``: float32 ``[N, F]``, a word as its place among its column's categories."""
        super().__init__()
        numbers = [place for place, column in enumerate(columns) if column.categories is None]
        self.words = [
            (place, len(column.categories))
            for place, column in enumerate(columns)
            if column.categories is not None
        ]
        self.register_buffer("places", torch.tensor(numbers, dtype=torch.int64))
        self.normal = QuantileNormal(normal[:, numbers]) if numbers else None
        owners = numbers + [place for place, count in self.words for _ in range(count)]
        self.register_buffer("groups", torch.eye(len(columns))[owners])

    def forward(self, values: Tensor) -> Tensor:
        """``[B, F]`` → ``[B, G]``"""
        numbers = [self.normal(values[:, self.places])] if self.normal else []
        return torch.cat([*numbers, *self._ones(values)], dim=1)

    def as_they_are(self, values: Tensor) -> Tensor:
        """The same, but numbers on their own scale: ``[B, F]`` → ``[B, G]``"""
        return torch.cat([values[:, self.places], *self._ones(values)], dim=1)

    def _ones(self, values: Tensor) -> list[Tensor]:
        return [
            (values[:, place, None] == torch.arange(count, device=values.device)).float()
            for place, count in self.words
        ]
