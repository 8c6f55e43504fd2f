"""Small autoencoders side by side that know what is normal, and the detector made of them.

To be rebuilt through a narrow middle, a number must follow from the others; in an anomaly it does
not. Knows no recipe and no data.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from model_store.spec import Array

NOISE = 0.05
PART = 4096  # rows that are scored at once, for the memory's sake


class Autoencoders(nn.Module):
    """``members`` small autoencoders side by side, as one batched product a layer."""

    def __init__(self, members: int, columns: int, hidden: int, latent: int) -> None:
        super().__init__()
        widths = [columns, hidden, hidden // 2, latent, hidden // 2, hidden, columns]
        self.middle = 2
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for before, after in pairwise(widths):
            reach = before**-0.5
            self.weights.append(torch.empty(members, before, after).uniform_(-reach, reach))
            self.biases.append(torch.empty(members, 1, after).uniform_(-reach, reach))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, F]`` or ``[M, B, F]`` → rebuilt ``[M, B, F]`` and latents ``[M, B, Z]``"""
        flow = rows.expand(len(self.weights[0]), -1, -1) if rows.ndim == 2 else rows
        latents = flow
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            flow = flow @ weight + bias
            if place == self.middle:
                latents = flow
            elif place < len(self.weights) - 1:
                flow = flow.tanh()  # bounded: what lies far out can't be rebuilt by chance
        return flow, latents


class Detector(nn.Module):
    """What is served: raw items → score, each part's share of it, and the latents."""

    usual: Tensor  # []
    groups: Tensor  # [F, G]

    def __init__(
        self,
        transform: nn.Module,
        autoencoders: nn.Module,
        normal: Tensor,
        groups: Tensor | None = None,
    ) -> None:
        """``normal``: raw training items, whose error becomes the unit of the score. ``groups``:
        float ``[F, G]``, 1 where what the networks see as number F is told as part G.
        """
        super().__init__()
        self.transform, self.autoencoders = transform, autoencoders
        with torch.no_grad():
            parts = [self._errors(part)[0].mean(0) for part in torch.split(normal, PART)]
            errors = torch.cat(parts)
        self.register_buffer("groups", torch.eye(errors.shape[1]) if groups is None else groups)
        self._take_as_usual(errors)

    def _take_as_usual(self, errors: Tensor) -> None:
        """Those of normal items ``[N, F]``"""
        self.register_buffer("usual", errors.mean() + 1e-6)

    def _errors(self, values: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.transform(values)
        rebuilt, latents = self.autoencoders(rows)
        return (rebuilt - rows).square(), latents

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw items ``[B, ...]`` → ``[B]``, ``[B, G]``, ``[B, M·Z]``"""
        errors, latents = self._errors(values)
        contributions = (errors.mean(0) / (self.usual * errors.shape[2])) @ self.groups
        return contributions.sum(1), contributions, latents.transpose(0, 1).flatten(1)


class BalancedDetector(Detector):
    """The same, but of each part counts the logarithm of its error over its own usual one: then a
    part that nothing tells, such as a weekday, does not drown the others, and several odd parts say
    more than a single one.
    """

    each: Tensor  # [G]
    whole: Tensor  # []

    def _take_as_usual(self, errors: Tensor) -> None:
        told = errors @ self.groups
        self.register_buffer("each", told.mean(0) + 1e-6)
        self.register_buffer("whole", (told / self.each).log1p().sum(1).mean() + 1e-6)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw items ``[B, ...]`` → ``[B]``, ``[B, G]``, ``[B, M·Z]``"""
        errors, latents = self._errors(values)
        contributions = ((errors.mean(0) @ self.groups) / self.each).log1p() / self.whole
        return contributions.sum(1), contributions, latents.transpose(0, 1).flatten(1)


def strain(autoencoders: nn.Module, rows: Tensor, hide: float) -> Tensor:
    """The loss on normal ``[B, F]``: rebuild them from a noisy copy with a share of ``hide`` of its
    numbers hidden, so that each must be told from the others (Vincent et al. 2008).
    """
    network: Any = getattr(autoencoders, "module", autoencoders)  # many processes wrap it
    shape = (len(network.weights[0]), *rows.shape)  # each member has its own noise
    seen = rows + NOISE * torch.randn(shape, device=rows.device)
    seen = seen * (torch.rand(shape, device=rows.device) >= hide)
    rebuilt: Tensor = autoencoders(seen)[0]
    return (rebuilt - rows).square().mean()


def scores_of(detector: Detector, values: Array) -> Array:
    """Raw float32 ``[N, ...]`` → ``[N]``"""
    with torch.no_grad():
        parts = [detector(part)[0] for part in torch.split(torch.tensor(values), PART)]
    scores: Array = torch.cat(parts).numpy()
    return scores
