"""What the recipes of policies share: everything but the environment, the algorithm and the rival
that was written by hand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure

from model_store.manifest import Batching, Category, Family, Verb
from model_store.spec import Array
from training.errors import DataError
from training.parts import environment as environments
from training.parts.actor import by_network
from training.parts.environment import TEST_SEEDS, Act, Controller, at_random, by_hand, play
from training.parts.reinforcement import ACTOR, PolicyConfig, PolicyLearner
from training.recipe import (
    MAIN_GRAPH,
    Evaluation,
    GraphExport,
    InRounds,
    Learner,
    Networks,
    Package,
)

SAMPLE_ROWS = 64
FRAMES = 8
FORMAT = (
    "nothing, as it learns by playing; --environment names another registered gymnasium environment"
    " (or module:id of your own) that sees a Box of one axis and takes "
)
CHOICE, VECTOR = "a choice (Discrete)", "a bounded Box of one axis"

P = TypeVar("P", bound=PolicyConfig)


class Policy(InRounds[P]):
    """Observation → action."""

    family: ClassVar[Family] = "other"
    category: ClassVar[Category] = "control"

    home: ClassVar[str]
    """The recipe's own environment; the next four are of this one only."""
    observations: ClassVar[tuple[str, ...]]
    actions: ClassVar[tuple[str, ...]]
    """What its numbers and choices are called."""
    controller: ClassVar[tuple[str, Controller]]
    """The rival: its name in the table and the function."""
    environment_license: ClassVar[str] = "MIT"
    learner_kind: ClassVar[type[PolicyLearner[Any]]]

    def load(self, data: Path | None) -> None:
        if data is not None:
            raise DataError(f"--data {data}: expected {self.data_formats}; got a path")
        at_home = self.config.environment == self.home
        self.rival = self.controller if at_home else None
        self.environment = environments.find(
            self.config.environment,
            self.observations if at_home else (),
            self.actions if at_home else (),
            self.environment_license if at_home else "",
        )
        self.data_source, self.data_license = self.environment.source, self.environment.license
        self.glimpses = environments.glimpses(self.environment, SAMPLE_ROWS)

    def learner(self, fold: int) -> Learner:
        self.learned = self.learner_kind(self.environment, self.config, fold)
        return self.learned

    # --- result --------------------------------------------------------------------------------

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        act = by_network(self.environment, fitted[-1][ACTOR])
        returns = self._play(act)
        rivals: dict[str, Act] = {"random": at_random}
        if self.rival:
            rivals[self.rival[0]] = by_hand(self.rival[1])
        baselines = {name: scores(self._play(rival)) for name, rival in rivals.items()}
        return Evaluation(
            scores(returns),
            baselines,
            self._description(returns),
            {
                "return_by_steps": self._curve(baselines),
                "episode": self._episode(act),
            },
        )

    def _play(self, act: Act) -> Array:
        return play(
            self.environment, act, range(TEST_SEEDS, TEST_SEEDS + self.config.test_episodes)
        )

    def _description(self, returns: Array) -> str:
        error = returns.std() / len(returns) ** 0.5
        return (
            f"The sum of rewards of {len(returns)} fresh episodes of {self.environment.id}, whose"
            " seeds neither training nor the choice of the best round used: mean"
            f" {returns.mean():.1f} ± {error:.1f} (standard error). Every player had the same"
            " episodes; the policy plays as the server answers, without chance."
        )

    def _curve(self, baselines: dict[str, dict[str, float]]) -> Figure:
        """What selection saw after each round."""
        figure = Figure(figsize=(6, 3.6))
        axes = figure.subplots()
        steps, means, lows, highs = np.array(self.learned.curve).T
        axes.fill_between(steps, lows, highs, alpha=0.2, label="8 episodes in 10")
        axes.plot(steps, means, label=f"mean of {self.config.selection_episodes} episodes")
        best = int(means.argmax())
        axes.plot(steps[best], means[best], "o", color="C0", label="published")
        for place, (name, values) in enumerate(baselines.items(), start=1):
            label = name.replace("_", " ")
            axes.axhline(values["mean_return"], color=f"C{place}", linestyle="--", label=label)
        axes.set(xlabel="steps of the environment", ylabel="return")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        return figure

    def _episode(self, act: Act) -> Figure:
        """The first fresh one, in pictures."""
        seen, pictures = environments.watch(self.environment, act, TEST_SEEDS, FRAMES)
        if not pictures:
            return _traces(seen, self.environment.input.names)
        height, width = next(iter(pictures.values())).shape[:2]
        figure = Figure(figsize=(12, 0.3 + 12 / len(pictures) * height / width))
        cells = figure.subplots(1, len(pictures), squeeze=False)[0]
        for cell, (step, picture) in zip(cells, pictures.items(), strict=True):
            cell.imshow(picture)
            cell.set_title(f"step {step}", fontsize=8)
            cell.axis("off")
        figure.subplots_adjust(wspace=0.03)
        return figure

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        rows = torch.from_numpy(self.glimpses)
        inputs, answer = self.environment.input, self.environment.answer
        graph = GraphExport(
            networks[ACTOR],
            lambda count: {inputs.tensor: rows[:count]},
            [answer.tensor],
            batching=Batching(max_rows=SAMPLE_ROWS),
        )
        first = (round(float(value), 4) for value in self.glimpses[-1])
        example = dict(zip(inputs.names, first, strict=True))
        return Package(
            {MAIN_GRAPH: graph},
            {"predict": Verb(input=inputs, answer=answer, example=example)},
        )


def scores(returns: Array) -> dict[str, float]:
    return {"mean_return": float(returns.mean()), "lowest_return": float(returns.min())}


def _traces(seen: Array, names: Sequence[str], most: int = 8) -> Figure:
    """Of an environment that draws nothing: the numbers ``[T, N]`` of the episode."""
    figure = Figure(figsize=(6, 3.6))
    axes = figure.subplots()
    for column, name in zip(seen.T[:most], names, strict=False):
        axes.plot(column, label=name)
    axes.set(xlabel="step", ylabel="observation")
    axes.legend(fontsize=8)
    return figure
