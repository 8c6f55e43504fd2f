"""The network of a policy as it is served: an observation in its own units → what to do."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model_store.spec import Array
from training.parts.environment import Act, Environment, World


class Normalise(nn.Module):
    """About 0 and of unit spread, as the network saw it in training; what is far out is cut."""

    centre: Tensor
    spread: Tensor

    def __init__(self, centre: Array, spread: Array, most: float) -> None:
        """``centre`` and ``spread``: ``[N]``"""
        super().__init__()
        self.most = most
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float32))

    def forward(self, observation: Tensor) -> Tensor:
        """``[B, N]`` → ``[B, N]``"""
        return ((observation - self.centre) / self.spread).clamp(-self.most, self.most)


class Within(nn.Module):
    """Keeps an action in its bounds: cuts it, or squashes all numbers into them."""

    low: Tensor
    high: Tensor

    def __init__(self, bounds: Sequence[tuple[float, float]], *, squash: bool) -> None:
        super().__init__()
        self.squash = squash
        low, high = torch.tensor(bounds).T
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, action: Tensor) -> Tensor:
        """``[B, D]`` → ``[B, D]``"""
        if self.squash:
            return self.low + (action.tanh() + 1) / 2 * (self.high - self.low)
        return action.clamp(self.low, self.high)


class Actor(nn.Module):
    """A copy of a policy's layers, and what comes before them."""

    def __init__(self, normalise: Normalise, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(normalise, *copy.deepcopy(list(layers)))

    def forward(self, observation: Tensor) -> Tensor:
        """``[B, N]`` → probabilities ``[B, K]`` or an action ``[B, D]``."""
        told: Tensor = self.layers(observation)
        return told


def by_network(environment: Environment, network: nn.Module) -> Act:
    """One who plays as a server would answer, batch by batch."""
    answer = environment.answer

    def act(worlds: Sequence[World], observations: Array) -> Sequence[object]:
        del worlds
        with torch.no_grad():
            rows = network(torch.from_numpy(observations)).numpy()
        answers = (answer.answer({answer.tensor: row[None]}, {}, None) for row in rows)
        return [one["action"] for one in answers]

    return act
