from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

import training.recipes
from tests.training.toys import Toy, ToyConfig, ToyGan
from training import recipe as recipes
from training.errors import UnknownRecipe

Offer = Callable[..., None]


def test_recipes_are_found_by_file() -> None:
    files = Path(str(training.recipes.__file__)).parent.glob("*.py")
    assert recipes.names() == sorted({path.stem for path in files} - {"__init__"})


def test_an_installed_package_may_offer_a_recipe(offer: Offer) -> None:
    offer(toy_faults=Toy, toy_squares=ToyGan)
    assert {"toy_faults", "toy_squares"} < set(recipes.names())
    assert recipes.find("toy_faults") is Toy
    assert recipes.find("toy_squares") is ToyGan


@pytest.mark.parametrize("name", ["toy_faults", "", "__init__", "../recipe", "training.recipe"])
def test_a_recipe_that_is_not_there_is_unknown_with_those_there_are(name: str) -> None:
    with pytest.raises(UnknownRecipe, match=r"; there are .*cnn_digits"):
        recipes.find(name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("weight_decay", -0.1),
        ("clip_norm", 0),
        ("average", 1),
        ("patience", 0),
        ("threads", 0),
        ("colour", "red"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        ToyConfig.model_validate({"epochs": 1, "learning_rate": 0.1, field: value})


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in recipes.Config.model_fields.values())


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ToyConfig(epochs=1, learning_rate=0.1).epochs = 2  # type: ignore[misc]


def test_the_rate_warms_up_and_then_falls_to_almost_nothing() -> None:
    recipe = Toy(ToyConfig(epochs=1, learning_rate=0.1))
    rates = [recipe.learning_rate(step / 1000) for step in range(1001)]
    peak = rates.index(max(rates))
    assert 0 < rates[0] <= 0.02
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(1, abs=2e-3)
    assert 0 < rates[-1] < 2e-3
    assert peak == 50


def test_each_network_has_an_optimizer_of_its_own() -> None:
    recipe = ToyGan(ToyConfig(epochs=1, learning_rate=0.125, weight_decay=0.5))
    networks = recipe.build(0)
    optimizers = recipe.optimizers(networks)
    assert set(optimizers) == set(networks)
    for name, optimizer in optimizers.items():
        [group] = optimizer.param_groups
        assert isinstance(optimizer, torch.optim.AdamW)
        assert {id(p) for p in group["params"]} == {id(p) for p in networks[name].parameters()}
        assert (group["lr"], group["weight_decay"]) == (0.125, 0.5)
