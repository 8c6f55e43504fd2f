"""What every GAN's step must do; what is special to one is tested beside it."""

from typing import Any

import pytest
import torch

from tests.conftest import each
from training import recipe as recipes

GANS = [name for name in recipes.names() if recipes.find(name).family == "gan"]


def test_there_are_some() -> None:
    assert len(GANS) >= 4


@pytest.mark.parametrize("name", each(GANS))
def test_a_batch_trains_the_judge_first_and_leaves_it_trainable_and_without_gradients(
    name: str,
) -> None:
    kind = recipes.find(name)
    small = kind.smoke or {"width": 2, "critic_width": 2}
    recipe: Any = kind(kind.profiles["quick"].model_copy(update=dict(small)))
    recipe.load(None)
    networks = recipe.build(0)
    maker, judge = networks
    trained = []
    for part, loss in recipe.step(networks, next(iter(recipe.batches(0, 0)))):
        trained.append(part)
        if part == maker:
            torch.autograd.backward(loss)

    assert trained == [judge, maker]
    assert all(p.requires_grad for p in networks[judge].parameters())
    assert all(p.grad is None for p in networks[judge].parameters())
    assert all(p.grad is not None for p in networks[maker].parameters())
