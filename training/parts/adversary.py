"""What any contest of a network that makes pictures and one that judges them is made of.

Knows no recipe and neither network.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.recipe import Networks


def optimizers(
    networks: Networks, rate: float, momentum: float = 0.0
) -> dict[str, torch.optim.Optimizer]:
    """With little momentum or none, as the other side moves (Miyato et al. 2018)."""
    return {
        name: torch.optim.Adam(network.parameters(), lr=rate, betas=(momentum, 0.99))
        for name, network in networks.items()
    }


def level_then_down(progress: float) -> float:
    """A recipe's learning rate: down to nothing over the second half, so that the two come to rest
    together.
    """
    return min(1.0, 2 * (1 - progress))


def hinge(scores: Tensor) -> Tensor:
    """A judge's loss for its scores of real pictures, then of as many made ones, on axis 0."""
    real, made = scores.chunk(2)
    return (1 - real).relu().mean() + (1 + made).relu().mean()


@contextmanager
def frozen(judge: nn.Module) -> Iterator[nn.Module]:
    """The judge bare, without gradients of its own for as long as it judges what the other learns
    by: none are summed (or sent to other machines) that nobody uses.
    """
    bare: nn.Module = getattr(judge, "module", judge)
    bare.requires_grad_(False)
    try:
        yield bare
    finally:
        bare.requires_grad_(True)
