"""The optimiser beside torch's own two."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from training.parts.muon import BETAS, EPSILON, Muon, orthogonal


class Network(nn.Module):
    """An embedding, a wide and a tall matrix, a vector and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lookup = nn.Embedding(64, 8)
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8, bias=False)
        self.head = nn.Linear(8, 64, bias=False)

    def loss(self) -> torch.Tensor:
        tokens = torch.arange(64)
        scores = self.head(self.down(self.up(self.lookup(tokens)).relu()))
        return nn.functional.cross_entropy(scores, tokens.roll(1))


def learn(network: Network, *optimizers: torch.optim.Optimizer, steps: int = 6) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = network.loss()
        losses.append(loss.item())
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
    return losses


def mine(network: Network) -> Muon:
    return Muon(network, rate=3e-3, matrix_rate=0.02, weight_decay=0.1)


def test_matrices_follow_torchs_muon_and_all_else_its_adamw() -> None:
    ours, theirs = Network(), Network()
    learn(ours, mine(ours), steps=3)
    matrices = [theirs.up.weight, theirs.down.weight]
    others = [theirs.lookup.weight, theirs.up.bias, theirs.head.weight]
    learn(
        theirs,
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1),
        torch.optim.AdamW(others, lr=3e-3, betas=BETAS, eps=EPSILON, weight_decay=0.1),
        steps=3,
    )
    for name, parameter in ours.named_parameters():
        # Newton and Schulz's steps are in bfloat16: a hundredth of the way gone may differ.
        torch.testing.assert_close(parameter, theirs.get_parameter(name), rtol=0, atol=5e-3)


def test_it_learns() -> None:
    network = Network()
    losses = learn(network, mine(network), steps=60)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_a_step_is_equally_long_in_every_direction(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_it_goes_on_from_its_saved_state_as_if_it_had_never_stopped() -> None:
    whole, broken = Network(), Network()
    learn(whole, mine(whole), steps=8)
    first = mine(broken)
    learn(broken, first, steps=4)
    second = mine(broken)
    second.load_state_dict(first.state_dict())
    learn(broken, second, steps=4)
    for one, other in zip(whole.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("make", [lambda: nn.LayerNorm(3), lambda: nn.Linear(3, 2, bias=False)])
def test_a_network_without_matrices_or_without_vectors_is_fine(
    make: Callable[[], nn.Module],
) -> None:
    assert len(Muon(make(), rate=1, matrix_rate=1, weight_decay=0).param_groups) == 1
