"""Environments are read as they say they are, and episodes are played as gymnasium plays them."""

import re
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space

from training.errors import BadConfig, DataError
from training.parts.environment import at_random, by_hand, find, glimpses, play, watch


class Scale(gymnasium.Env[Any, Any]):
    """Gives what it is told, for four steps; a test says how it differs."""

    steps, reading = 4, 0.5

    def __init__(self, sees: Space[Any] | None = None, does: Space[Any] | None = None) -> None:
        self.observation_space = sees or Box(-1, 1, (2,))
        self.action_space = does or Discrete(2, start=1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = self.steps
        return np.full(2, 0.5, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.left -= 1
        return (
            np.full(2, self.reading, np.float32),
            float(np.sum(action)),
            self.left == 0,
            False,
            {},
        )


class Endless(Scale):
    """Without end."""

    steps = -1


class Broken(Scale):
    """Its sensor fails."""

    reading = float("nan")


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Environments of a user's own."""
    before = dict(gymnasium.registry)
    for kind in (Scale, Endless, Broken):
        gymnasium.register(f"{kind.__name__}-v0", lambda kind=kind, **options: kind(**options))
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_side_by_side_each_episode_is_what_it_is_alone() -> None:
    environment, act = find("CartPole-v1"), by_hand(lambda _, row: int(row[2] > 0))
    together = play(environment, act, [5, 6, 7])
    assert together.tolist() == [play(environment, act, [seed])[0] for seed in (5, 6, 7)]
    assert len(set(together)) == 3


def test_random_play_is_seeded_by_the_episode() -> None:
    environment = find("CartPole-v1")
    assert (
        play(environment, at_random, [1, 2]).tolist()
        == play(environment, at_random, [1, 2]).tolist()
    )
    assert play(environment, at_random, range(9)).std() > 0


def test_a_users_own_environment_is_read_and_played() -> None:
    environment = find("Scale-v0")
    assert environment.license == "the user's own"
    assert environment.input.names == ["observation_0", "observation_1"]
    assert environment.answer.names == ("action_0", "action_1")
    assert environment.answer.first == 1
    assert play(environment, lambda _, rows: [2] * len(rows), [0, 1]).tolist() == [8, 8]
    seen, pictures = watch(environment, lambda *_: [1], 0, 8)
    assert seen.shape == (5, 2)
    assert pictures == {}


def test_pictures_are_of_the_episode_from_its_start_to_its_end() -> None:
    environment = find("CartPole-v1")
    act = by_hand(lambda _, row: int(row[2] > 0))
    seen, pictures = watch(environment, act, 5, 4)
    assert len(seen) == play(environment, act, [5])[0] + 1
    assert list(pictures) == np.linspace(0, len(seen) - 1, 4).round().tolist()
    first, *later = pictures.values()
    assert first.shape == (400, 600, 3)
    assert all((picture != first).any() for picture in later)


def test_a_vector_has_the_bounds_of_its_box() -> None:
    answer = find("Pendulum-v1").answer
    assert (answer.names, answer.bounds, answer.tensor) == (("action_0",), ((-2, 2),), "action")


def test_glimpses_are_finite_and_never_the_same() -> None:
    rows = glimpses(find("LunarLander-v3"), 40)
    assert np.isfinite(rows).all()
    assert len(np.unique(rows, axis=0)) == 40


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CartPoole-v1", "expected a registered gymnasium environment; got NameNotFound"),
        ("no_such_module:Env-v0", "ModuleNotFoundError"),
        ("", "expected a registered gymnasium environment; got"),
        ("FrozenLake-v1", "expected a Box of one axis to see; got Discrete(16)"),
        ("Blackjack-v1", "expected a Box of one axis to see; got Tuple"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused(name: str, words: str) -> None:
    with pytest.raises(BadConfig, match=f"--environment {name}: .*{re.escape(words)}"):
        find(name)


@pytest.mark.parametrize(
    "does",
    [
        MultiDiscrete([2, 3]),
        Box(-np.inf, np.inf, (2,)),
        Box(0, 1, (2, 2)),
        Box(0, 5, (2,), np.int64),
    ],
    ids=str,
)
def test_actions_that_no_answer_can_give_are_refused(does: Space[Any]) -> None:
    gymnasium.register("Odd-v0", lambda **_: Scale(does=does))
    with pytest.raises(BadConfig, match="expected actions that are a choice"):
        find("Odd-v0")


def test_a_broken_sensor_and_an_endless_episode_end_the_run() -> None:
    with pytest.raises(
        DataError, match="Broken-v0: expected finite observations and rewards; got NaN"
    ):
        play(find("Broken-v0"), at_random, [0])
    with pytest.raises(DataError, match="Endless-v0: expected episodes of at most 20,000 steps"):
        play(find("Endless-v0"), at_random, [0])
