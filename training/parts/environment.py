"""What a policy learns in and is judged in: a gymnasium environment, and episodes played in it.

Knows no network and no library that learns: whoever plays is a function of observations.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from model_store.answers.action import ActionAnswer
from model_store.inputs.table import Column, TableInput
from model_store.spec import Array
from training.errors import BadConfig, DataError

World: TypeAlias = gymnasium.Env[Any, Any]
"""One copy of an environment."""
Act: TypeAlias = Callable[[Sequence[World], Array], Sequence[Any]]
"""``(worlds, observations float32 [B, N]) → B actions``, as an answer gives them."""
Controller: TypeAlias = Callable[[World, Array], Any]
"""``(world, observation [N]) → action``, for one world."""

MAX_STEPS = 20_000
TRAINING_SEEDS, SELECTION_SEEDS, TEST_SEEDS = 2**29, 2**29, 2**30
"""Episodes to learn from have seeds below the first number; the others' begin at theirs."""
UNUSABLE = (gymnasium.error.Error, ImportError, TypeError, ValueError, AttributeError)
"""What making an environment fails with, where its name or its own code is wrong."""


@dataclass(frozen=True)
class Environment:
    """A registered environment whose observations are one row of numbers."""

    id: str
    input: TableInput
    answer: ActionAnswer
    source: str
    license: str

    def make(self, **options: Any) -> World:
        """Its own copy. Raises BadConfig."""
        return _make(self.id, disable_env_checker=True, **options)

    def takes(self, action: Any) -> Any:
        """An answer's action as the environment's ``step`` wants it."""
        return action if self.answer.bounds is None else np.asarray(action, dtype=np.float32)


def find(
    name: str, observations: Sequence[str] = (), actions: Sequence[str] = (), license_text: str = ""
) -> Environment:
    """The environment registered as ``name`` (``module:name`` imports the module first).

    ``observations`` and ``actions`` name the numbers and the choices; without, they are counted.
    Raises BadConfig where it can't be made, or sees or takes what a policy here can't.
    """
    world = _make(name)
    sees, does = world.observation_space, world.action_space
    world.close()
    if not isinstance(sees, Box) or len(sees.shape) != 1:
        raise BadConfig(f"--environment {name}: expected a Box of one axis to see; got {sees}")
    columns = observations or [f"observation_{k}" for k in range(sees.shape[0])]
    own = not world.unwrapped.__module__.startswith("gymnasium.")
    return Environment(
        name,
        TableInput(tensor="observation", columns=tuple(Column(name=key) for key in columns)),
        _answer(name, does, actions),
        f"episodes of {name}, played by gymnasium {version('gymnasium')}",
        "the user's own" if own else license_text or "MIT",
    )


def _make(name: str, **options: Any) -> World:
    try:
        with warnings.catch_warnings():
            # Box2D's wrapper is older than the interpreter's wish for a module of each type.
            warnings.filterwarnings("ignore", "builtin type", DeprecationWarning)
            return gymnasium.make(name, **options)
    except UNUSABLE as error:
        raise BadConfig(
            f"--environment {name}: expected a registered gymnasium environment; got"
            f" {type(error).__name__}: {error}"
        ) from None


def _answer(name: str, does: Any, names: Sequence[str]) -> ActionAnswer:
    if isinstance(does, Discrete):
        chosen = names or [f"action_{k}" for k in range(int(does.n))]
        return ActionAnswer(names=tuple(chosen), first=int(does.start))
    bounded = isinstance(does, Box) and len(does.shape) == 1 and does.is_bounded()
    if not bounded or does.dtype.kind != "f":
        raise BadConfig(
            f"--environment {name}: expected actions that are a choice (Discrete) or a bounded Box"
            f" of floats with one axis; got {does}"
        )
    return ActionAnswer(
        tensor="action",
        names=tuple(names or [f"action_{k}" for k in range(does.shape[0])]),
        bounds=tuple(zip(does.low.tolist(), does.high.tolist(), strict=True)),
    )


# --- playing -----------------------------------------------------------------------------------


def play(environment: Environment, act: Act, seeds: Sequence[int]) -> Array:
    """An episode for each seed, all side by side: their returns, float64 ``[N]``.

    Raises DataError for an observation or reward that is not finite, or an episode without end.
    """
    worlds = [environment.make() for _ in seeds]
    seen = [_reset(world, seed) for world, seed in zip(worlds, seeds, strict=True)]
    returns = np.zeros(len(worlds))
    going = list(range(len(worlds)))
    for _ in range(MAX_STEPS):
        rows = _finite(environment, np.stack([seen[k] for k in going]))
        ended = set()
        for k, action in zip(going, act([worlds[k] for k in going], rows), strict=True):
            seen[k], reward, over, cut, _ = worlds[k].step(environment.takes(action))
            returns[k] += float(reward)
            if over or cut:
                ended.add(k)
                worlds[k].close()
        going = [k for k in going if k not in ended]
        if not going:
            _finite(environment, returns)
            return returns
    raise DataError(
        f"{environment.id}: expected episodes of at most {MAX_STEPS:,} steps; got a longer one:"
        " register it with max_episode_steps"
    )


def _finite(environment: Environment, numbers: Array) -> Array:
    """As float32. Raises DataError."""
    if not np.isfinite(numbers).all():
        raise DataError(
            f"{environment.id}: expected finite observations and rewards; got NaN or infinity"
        )
    return numbers.astype(np.float32)


def _reset(world: World, seed: int) -> Any:
    world.action_space.seed(seed)  # who plays at random draws from it
    return world.reset(seed=seed)[0]


def at_random(worlds: Sequence[World], observations: Array) -> Sequence[Any]:
    """An :data:`Act`, seeded by each world's episode."""
    del observations
    return [world.action_space.sample() for world in worlds]


def by_hand(controller: Controller) -> Act:
    """One that asks a controller for each world."""

    def act(worlds: Sequence[World], observations: Array) -> Sequence[Any]:
        return [controller(world, row) for world, row in zip(worlds, observations, strict=True)]

    return act


def watch(
    environment: Environment, act: Act, seed: int, most: int
) -> tuple[Array, dict[int, Array]]:
    """One episode: what was seen, ``[T, N]``, and ``most`` pictures of it, uint8 ``[H, W, 3]``, by
    their steps; none where the environment draws none.
    """
    world = environment.make()
    draws = "rgb_array" in world.metadata.get("render_modes", [])
    seen = list(_steps(environment, world, act, seed))
    world.close()
    pictures: dict[int, Array] = {}
    if draws:  # in a second run, as a thousand pictures would take a gigabyte
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame would complain of no screen
        world = environment.make(render_mode="rgb_array")
        places = set(np.linspace(0, len(seen) - 1, most).round().astype(int).tolist())
        for place, _ in enumerate(_steps(environment, world, act, seed)):
            if place in places:
                pictures[place] = np.asarray(world.render())
        world.close()
    return np.stack(seen), pictures


def _steps(environment: Environment, world: World, act: Act, seed: int) -> Iterator[Array]:
    """What is seen, from the start of an episode to its end."""
    row, over, cut = _reset(world, seed), False, False
    yield row
    while not over and not cut:
        rows = _finite(environment, np.stack([row]))
        row, _, over, cut, _ = world.step(environment.takes(act([world], rows)[0]))
        yield row


def glimpses(environment: Environment, count: int, most: int = 12) -> Array:
    """float32 ``[count, N]``: what is seen in as many episodes, a few random steps on.
    Raises DataError.
    """
    rows = []
    for place in range(count):
        world = environment.make()
        row = _reset(world, TRAINING_SEEDS - 1 - place)
        for _ in range(place % most):
            row, _, over, cut, _ = world.step(world.action_space.sample())
            if over or cut:
                break
        rows.append(row)
        world.close()
    return _finite(environment, np.stack(rows))
