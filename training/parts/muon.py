"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for the matrices within layers and
AdamW for all else, as one optimiser: the loop takes one a network. Knows no network.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from training.recipe import Config

BETAS = (0.9, 0.95)
EPSILON = 1e-8
MOMENTUM = 0.95
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Its fifth-order steps send every singular value from 0 to 1 near to 1; Jordan's own numbers."""
STEPS = 5


class MuonConfig(Config):
    """Settings of recipes that learn by it."""

    matrix_rate: float = Field(
        default=0.02, gt=0, description="peak learning rate of the matrices within layers (Muon)"
    )


class Muon(Optimizer):
    """Steps of which every direction is equally long. Small models learn from about a third fewer
    tokens than by AdamW alone.

    Matrices have rate ``matrix_rate``; vectors, embeddings and what ``outer`` names have ``rate``.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rate: float,
        matrix_rate: float,
        weight_decay: float,
        outer: tuple[str, ...] = ("head", "lookup"),
    ) -> None:
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for name, parameter in network.named_parameters():
            within = parameter.ndim == 2 and not set(name.split(".")) & set(outer)
            (matrices if within else others).append(parameter)
        groups = [
            {"params": matrices, "lr": matrix_rate, "orthogonal": True},
            {"params": others, "lr": rate, "orthogonal": False},
        ]
        super().__init__(
            [group for group in groups if group["params"]], {"weight_decay": weight_decay}
        )

    @classmethod
    def of(cls, network: nn.Module, config: MuonConfig) -> "Muon":
        """As a recipe's settings say."""
        return cls(
            network,
            rate=config.learning_rate,
            matrix_rate=config.matrix_rate,
            weight_decay=config.weight_decay,
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        del closure
        for group in self.param_groups:
            follow = _follow_muon if group["orthogonal"] else _follow_adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    follow(parameter, parameter.grad, self.state[parameter], group["lr"])
        return None


def _follow_muon(parameter: Tensor, gradient: Tensor, state: dict[str, Any], rate: float) -> None:
    momentum = state.setdefault("momentum", torch.zeros_like(gradient))
    momentum.lerp_(gradient, 1 - MOMENTUM)
    direction = orthogonal(gradient.lerp(momentum, MOMENTUM))
    rows, columns = parameter.shape
    parameter.add_(direction, alpha=-rate * max(1.0, rows / columns) ** 0.5)


def _follow_adam(parameter: Tensor, gradient: Tensor, state: dict[str, Any], rate: float) -> None:
    if not state:
        state |= {
            "step": 0,
            "mean": torch.zeros_like(gradient),
            "square": torch.zeros_like(gradient),
        }
    state["step"] += 1
    mean, square, (keep, keep_square) = state["mean"], state["square"], BETAS
    mean.lerp_(gradient, 1 - keep)
    square.mul_(keep_square).addcmul_(gradient, gradient, value=1 - keep_square)
    root = (square / (1 - keep_square ** state["step"])).sqrt_().add_(EPSILON)
    parameter.addcdiv_(mean, root, value=-rate / (1 - keep ** state["step"]))


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values sent near to 1, by Newton and Schulz's iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    flow = (matrix.T if tall else matrix).bfloat16()
    flow = flow / (flow.norm() + 1e-7)
    a, b, c = POLYNOMIAL
    for _ in range(STEPS):
        square = flow @ flow.T
        flow = a * flow + (b * square + c * (square @ square)) @ flow
    near: Tensor = (flow.T if tall else flow).to(matrix.dtype)
    return near
