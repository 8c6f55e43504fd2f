"""How well boxes are found: mean average precision, as Pascal VOC has counted it since 2010."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_store.spec import Array
from training.parts.detection import overlap


class Found(NamedTuple):
    """What is in one picture, or was found there: ``boxes`` ``[n, 4]``, ``labels`` int64 ``[n]``;
    ``scores`` ``[n]``, of no meaning where it is the truth.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor


def average_precisions(
    truth: Sequence[Found], found: Sequence[Found], classes: int, least: float = 0.5
) -> Array:
    """Of each class ``[K]``, NaN for one that is not there. A guess is right where it overlaps an
    object of its class by ``least``, of which no surer guess was right.
    """
    return np.array([_of_class(truth, found, label, least) for label in range(classes)])


def _of_class(truth: Sequence[Found], found: Sequence[Found], label: int, least: float) -> float:
    there = 0
    scores: list[float] = []
    right: list[bool] = []
    for real, guessed in zip(truth, found, strict=True):
        objects = real.boxes[real.labels == label]
        chosen = guessed.labels == label
        order = guessed.scores[chosen].argsort(descending=True, stable=True)
        there += len(objects)
        scores += guessed.scores[chosen][order].tolist()
        right += _right(objects, guessed.boxes[chosen][order], least)
    if not there:
        return float("nan")
    hits = np.array(right, dtype=float)[np.argsort(-np.array(scores), kind="stable")]
    recall = np.concatenate([[0.0], np.cumsum(hits) / there])
    precision = np.concatenate([[1.0], np.cumsum(hits) / np.arange(1, len(hits) + 1)])
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * best_from_here[1:]).sum())


def _right(objects: Tensor, guesses: Tensor, least: float) -> list[bool]:
    """Of guesses, surest first."""
    if not len(objects):
        return [False] * len(guesses)
    right, taken = [], torch.zeros(len(objects), dtype=torch.bool)
    for overlaps in overlap(guesses[:, None], objects[None]):
        place = int(overlaps.argmax())
        right.append(bool(overlaps[place] >= least and not taken[place]))
        taken[place] |= right[-1]
    return right
