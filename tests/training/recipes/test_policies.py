"""What is special to the recipes of policies; the contract of all recipes is tested elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import pytest
import torch
from accelerate.utils import set_seed
from gymnasium.envs.classic_control import CartPoleEnv

from model_store.store import Store
from tests.service.players import asking
from tests.service.server import Server, serving
from tests.training.toys import Quiet, same
from training import fit as fit_module
from training.errors import BadConfig, DataError
from training.fit import Fitted, fit
from training.parts.actor import by_network
from training.parts.environment import TEST_SEEDS, find, play
from training.parts.reinforcement import ACTOR
from training.recipe import find as recipe_named

if TYPE_CHECKING:
    from tests.conftest import Trained

POLICIES = ("policy_cartpole", "policy_lunarlander", "policy_pendulum")
every_policy = pytest.mark.parametrize("name", POLICIES)
SMALL = {"rounds": 2, "selection_episodes": 2, "test_episodes": 2}
PPO = {"rollout": 32, "round_steps": 256}
SAC = {"warm_up": 50, "round_steps": 100}


def loaded(name: str, **settings: Any) -> Any:
    kind = recipe_named(name)
    config = kind.profiles["quick"]
    changed = {**config.model_dump(), **kind.smoke, **settings}
    recipe = kind(type(config).model_validate(changed))
    recipe.load(None)
    return recipe


def fitted(name: str, **options: Any) -> Fitted:
    settings = {"progress": Quiet(), **options}
    steps = SAC if name == "policy_pendulum" else PPO
    return fit(loaded(name, **SMALL, **steps), 0, device="cpu", **settings)


# --- learning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["policy_cartpole", "policy_pendulum"])
def test_a_killed_run_ends_as_if_it_had_never_stopped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_EVERY_S", -1.0)
    whole = fitted(name)
    with pytest.raises(KeyboardInterrupt):
        fitted(name, checkpoint=tmp_path / "run", progress=Quiet(2))
    progress = Quiet()
    resumed = fitted(name, checkpoint=tmp_path / "run", progress=progress, resume=True)

    assert progress.starts == [("", 1)]
    assert resumed.history.validation == whole.history.validation
    assert same(resumed, whole)


def test_the_curve_of_the_card_has_the_rounds_before_a_kill_too(tmp_path: Path) -> None:
    first = loaded("policy_cartpole", **SMALL, **PPO)
    learner = first.learner(0)
    for number in range(2):
        learner.learn(number)
    torch.save(learner.state_dict(), tmp_path / "state")
    again = loaded("policy_cartpole", **SMALL, **PPO)
    again.learner(0).load_state_dict(torch.load(tmp_path / "state", weights_only=False))

    assert again.learned.curve == learner.curve
    assert [point.steps for point in learner.curve] == [256, 512]


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("policy_cartpole", "CartPole-v1"),
        ("policy_cartpole", "Pendulum-v1"),
        ("policy_pendulum", "Pendulum-v1"),
    ],
)
def test_the_network_plays_as_the_library_does(name: str, environment: str) -> None:
    """Its actions are those that Stable-Baselines3's own ``predict`` gives."""
    recipe = loaded(name, environment=environment, **SMALL)
    set_seed(0)
    learner = recipe.learner(0)
    learner.learn(0)
    rows = recipe.glimpses
    ours = by_network(recipe.environment, learner.networks()[ACTOR])([], rows)
    theirs, _ = learner.model.predict(learner.worlds.normalize_obs(rows), deterministic=True)

    np.testing.assert_allclose(np.array(ours).reshape(theirs.shape), theirs, atol=1e-4)
    assert len(np.unique(np.round(theirs, 3))) > 1


def test_a_few_rounds_balance_the_pole_far_longer_than_chance(trained: "Trained") -> None:
    manifest = Store(trained.store).open("policy_cartpole").manifest
    returns = manifest.metrics["mean_return"]
    assert returns > 3 * manifest.baselines["random"]["mean_return"]
    assert manifest.baselines["angle_and_velocity"]["mean_return"] > 400


# --- another environment -----------------------------------------------------------------------


def test_another_environment_is_learned_with_its_own_actions(tmp_path: Path) -> None:
    recipe = loaded("policy_cartpole", environment="Acrobot-v1", **PPO, **{**SMALL, "rounds": 1})
    networks = fit(recipe, 0, device="cpu", progress=Quiet()).networks
    verb = recipe.package(networks, tmp_path).verbs["predict"]
    assert verb.answer.names == ("action_0", "action_1", "action_2")
    assert len(verb.input.columns) == 6
    assert set(recipe.evaluate([networks]).baselines) == {"random"}


class Failing(CartPoleEnv):
    """A cart whose sensor fails once the pole has leaned far."""

    def step(self, action: Any) -> Any:
        stepped: Any = super().step  # has no types
        observation, *rest = stepped(action)
        return observation * (np.nan if abs(observation[2]) > 0.15 else 1), *rest


def test_a_sensor_that_fails_in_training_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gymnasium.spec("CartPole-v1"), "entry_point", Failing)
    with pytest.raises(DataError, match="CartPole-v1: expected finite observations and rewards"):
        loaded("policy_cartpole").learner(0).learn(0)


def test_a_choice_cannot_be_learned_as_a_vector() -> None:
    with pytest.raises(BadConfig, match=r"expected actions that are vectors.*policy_cartpole"):
        loaded("policy_pendulum", environment="CartPole-v1").learner(0)


@every_policy
def test_a_path_is_refused_as_there_is_nothing_to_read(name: str, tmp_path: Path) -> None:
    kind = recipe_named(name)
    with pytest.raises(DataError, match=r"learns by playing; --environment names .*; got a path"):
        kind(kind.profiles["quick"]).load(tmp_path)


# --- served ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub(trained: "Trained", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the trained recipes, which loads those that are asked."""
    with serving(trained.store, tmp_path_factory.mktemp("hub"), lazy=True) as server:
        yield server


@every_policy
def test_an_episode_played_over_a_socket_is_the_one_played_here(
    trained: "Trained", hub: Server, name: str
) -> None:
    recipe, networks = trained.recipes[name]
    environment = find(recipe.config.environment)
    seeds = [TEST_SEEDS, TEST_SEEDS + 1]
    over_the_wire = play(environment, asking(hub, name), seeds)
    here = play(environment, by_network(environment, networks[ACTOR]), seeds)
    np.testing.assert_allclose(over_the_wire, here, rtol=1e-3)


def test_a_choice_comes_with_the_chances_of_all_and_a_vector_without(hub: Server) -> None:
    [push] = hub.predict("predict", "policy_cartpole", [0, 0, 0.1, 0.5]).json()["outputs"]
    assert set(push) == {"action", "probabilities"}
    assert sum(push["probabilities"]) == pytest.approx(1)
    assert push["action"] == int(np.argmax(push["probabilities"]))
    [turn] = hub.predict("predict", "policy_pendulum", [1, 0, 0]).json()["outputs"]
    assert turn["probabilities"] is None
    assert -2 <= turn["action"][0] <= 2


def test_named_numbers_and_a_list_of_them_mean_the_same(hub: Server) -> None:
    named = {"cos_angle": -1, "sin_angle": 0, "angular_velocity": 0.5}
    by_name = hub.predict("predict", "policy_pendulum", named).json()["outputs"]
    assert by_name == hub.predict("predict", "policy_pendulum", [-1, 0, 0.5]).json()["outputs"]


@pytest.mark.parametrize(
    ("item", "status", "words"),
    [
        ("[0, 0, 0]", 422, "expected 4 cells; got 3"),
        ("[0, 0, null, 0]", 422, "pole_angle: expected a number; got None"),
        ("[0, 0, 1e39, 0]", 422, "pole_angle: expected a finite 32-bit number"),
        ("[0, 0, NaN, 0]", 400, ""),
        ('{"pole_angle": 0}', 422, "missing ['cart_position'"),
    ],
)
def test_an_observation_that_is_none_is_refused(
    hub: Server, item: str, status: int, words: str
) -> None:
    response = hub.client.post(
        "/v1/models/policy_cartpole/predict",
        content=f'{{"inputs": [[0, 0, 0, 0], {item}]}}',
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == status, response.text
    assert words in response.json()["detail"]
