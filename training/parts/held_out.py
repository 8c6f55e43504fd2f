"""How a classifier's graph is judged on rows that it has not seen."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from model_store.spec import Array, Tensors
from training.recipe import HeldOut

ROWS = 64


def classified(
    inputs: Callable[[Sequence[int]], Mapping[str, Tensor]], truth: Array, rows: Array
) -> HeldOut:
    """By accuracy. ``inputs``: the graph's inputs of rows that are given by number; ``truth``: int
    ``[N]``, the class of each row there is; ``rows``: those to be judged by.
    """

    def parts() -> Iterable[Mapping[str, Tensor]]:
        return (inputs(rows[place : place + ROWS].tolist()) for place in range(0, len(rows), ROWS))

    def accuracy(outputs: Tensors) -> float:
        guess = outputs["probabilities"].argmax(1)
        return float(np.mean(guess == truth[rows]))

    return HeldOut(parts, accuracy, "accuracy")
