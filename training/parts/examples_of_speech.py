"""Recordings as a recogniser of speech learns from them: blocks, labels of blocks, batches. Knows
no recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.data.spoken import RATE
from training.parts.listener import IGNORED
from training.parts.log_mel import BLOCK
from training.parts.utterances import Samples

STEP_S = BLOCK / RATE
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Features ``[B, T, F]``, mask ``[B, T]``, words ``[B, L]``, how many, aligned ``[B, T]``, and
how much each loss counts ``[2]``.
"""


@dataclass(frozen=True)
class Example:
    """One recording as the network takes it: ``[T, F]``, ``[L]``, ``[T]``."""

    features: Tensor
    words: Tensor
    aligned: Tensor


def blocks(recorded: Sequence[Samples]) -> tuple[Tensor, Tensor]:
    """Float ``[B, T, BLOCK]`` of the longest, zeros beyond each end; and the mask ``[B, T]``."""
    counts = [-(-len(samples) // BLOCK) for samples in recorded]
    audio = np.zeros((len(recorded), max(counts) * BLOCK), dtype=np.float32)
    mask = np.zeros((len(recorded), max(counts)), dtype=np.float32)
    for row, (samples, count) in enumerate(zip(recorded, counts, strict=True)):
        audio[row, : len(samples)], mask[row, :count] = samples, 1
    return torch.from_numpy(audio).reshape(len(audio), -1, BLOCK), torch.from_numpy(mask)


def aligned(spans: Sequence[tuple[float, float]] | None, words: Tensor, steps: int) -> Tensor:
    """The word said at the middle of each block, 0 for none: int64 ``[steps]``. A word said twice
    without a pause has a block of none in between, or it would count once.
    """
    if spans is None:
        return torch.full((steps,), IGNORED)
    told = torch.zeros(steps, dtype=torch.int64)
    for (start, end), word in zip(spans, words, strict=True):
        first, last = round(start / STEP_S), max(round(start / STEP_S) + 1, round(end / STEP_S))
        if 0 < first < steps and told[first - 1] == word:
            told[first - 1] = 0
        told[first:last] = word
    return told


def collate(examples: Sequence[Example], weights: tuple[float, float]) -> Batch:
    """Of the longest's length: zeros beyond each end, and nothing known there."""
    features = pad_sequence([one.features for one in examples], batch_first=True)
    mask = pad_sequence([torch.ones(len(one.features)) for one in examples], batch_first=True)
    words = pad_sequence([one.words for one in examples], batch_first=True)
    lengths = torch.tensor([len(one.words) for one in examples])
    known = pad_sequence([one.aligned for one in examples], batch_first=True, padding_value=IGNORED)
    return features, mask, words, lengths, known, torch.tensor(weights)
