"""What a recipe must offer, and the types it speaks in. Knows no recipe, no store, no loop.

A recipe is one readable file in ``recipes/``: its configuration, its networks, its step, its scores
and its graphs. The loop, the export, the checks and the publishing are the library's.
"""

import importlib
import inspect
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from model_store.decoding import Decoding
from model_store.manifest import MAIN_GRAPH, Batching, Category, Family, Verb, VerbName
from model_store.spec import Tensors
from training.errors import DataError, UnknownRecipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from model_store.bundle import Bundle

Networks: TypeAlias = dict[str, nn.Module]
"""What a recipe trains, by name. Most have one; a GAN has two."""


class Settings(BaseModel):
    """What any recipe can be told. Each field is a flag of ``modelhub train``, its description the
    help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**32, description="same seed, same model (on CPU)")
    threads: int = Field(
        default=1,
        ge=1,
        description="CPU threads; another number, another order of sums",
    )


class Config(Settings):
    """The settings of a recipe that learns step by step."""

    epochs: int = Field(ge=1, description="passes over the training data at most")
    batch_size: int = Field(default=64, ge=1, description="rows a step")
    learning_rate: float = Field(gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's decoupled decay")
    clip_norm: float = Field(default=1.0, gt=0, description="gradient norm above which it is cut")
    average: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the running average of weights; 0 is off"
    )
    patience: int = Field(
        default=10, ge=1, description="epochs without a better validation loss before it stops"
    )


class RoundsConfig(Settings):
    """The settings of a recipe that a library fits in rounds."""

    rounds: int = Field(ge=1, description="parts of the training, each followed by validation")
    patience: int = Field(
        default=20, ge=1, description="rounds without a better validation before it stops"
    )


C = TypeVar("C", bound=Settings)
R = TypeVar("R", bound=RoundsConfig)


@dataclass(frozen=True)
class Evaluation:
    """What the held-out data said. Higher is not always better: the metric's name tells.

    ``metrics``: the first one is the headline. ``baselines``: name → the same metrics, computed in
    this run. ``description``: which data, how split, how many. ``figures``: file stem → picture.
    ``samples``: what the model says, as Markdown for the card.
    Raises DataError for a score that is not finite.
    """

    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    description: str
    figures: "dict[str, Figure]" = field(default_factory=dict)
    samples: str = ""

    def __post_init__(self) -> None:
        for values in (self.metrics, *self.baselines.values()):
            for name, value in values.items():
                if not math.isfinite(value):
                    raise DataError(f"{name} is {value} on {self.description}: no score to publish")


@dataclass(frozen=True)
class HeldOut:
    """Rows that neither training nor stopping saw, and what a graph's answers to them are worth:
    so that the graph with smaller weights can be judged.

    ``inputs``: the graph's inputs, part by part. ``score``: of all its outputs, the parts' rows
    joined in their order; higher is better. ``metric``: its name.
    """

    inputs: Callable[[], Iterable[Mapping[str, Tensor]]]
    score: Callable[[Tensors], float]
    metric: str


@dataclass(frozen=True)
class GraphExport:
    """One ONNX graph to be made.

    ``module.forward`` takes the inputs by position, in the order of ``sample``'s keys, and returns
    one tensor or a tuple, in the order of ``outputs``. It holds all arithmetic: raw tensors in
    (uint8 pixels, token ids), finished numbers out (probabilities, pixels). ``sample(rows)`` gives
    real inputs of that many rows, never the same row twice. Axis 0 is always the row; ``axes``
    names further dynamic ones, of inputs and outputs: ``{"tokens": {1: "time"}}``.

    A graph that is run token by token has a ``decoding``. Its sample is a run with an empty cache;
    a ``shared`` cache in it has room for all tokens. ``reference`` takes that sample and gives the
    logits ``[rows, T, V]`` of each token as the network was trained, the whole sequences at once:
    what the graph is compared with, so the operators of its ``module`` need not run in torch.
    """

    module: nn.Module
    sample: Callable[[int], dict[str, Tensor]]
    outputs: Sequence[str]
    axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    batching: Batching = field(default_factory=Batching)
    tolerance: float = 1e-4
    decoding: Decoding | None = None
    reference: Callable[[Mapping[str, Tensor]], Tensor] | None = None
    held_out: HeldOut | None = None

    def __post_init__(self) -> None:
        if (self.decoding is None) != (self.reference is None):
            raise ValueError("a graph has a reference where it has a decoding, and only there")


@dataclass(frozen=True)
class Package:
    """What goes into the bundle beside scores: graphs and the verbs that point at them."""

    graphs: dict[str, GraphExport]
    verbs: dict[VerbName, Verb]


class Recipe(ABC, Generic[C]):
    """How to make one kind of model. Subclassed once per file in ``recipes/``."""

    family: ClassVar[Family]
    category: ClassVar[Category]
    task: ClassVar[str]
    description: ClassVar[str]
    data_formats: ClassVar[str]
    """What ``--data PATH`` takes, for ``modelhub recipes --show``."""
    profiles: ClassVar[Mapping[str, Settings]]
    """``quick`` (the starter's) and ``full``; both of the recipe's own Config class."""
    smoke: ClassVar[Mapping[str, Any]] = {"epochs": 1}
    """What of the quick profile a test changes, so that a whole run takes it seconds."""
    lower_is_better: ClassVar[bool] = False
    """Of the headline metric: an error, a loss, a distance."""
    license: str = "Apache-2.0"
    """Of the trained weights. :meth:`load` changes it where the data's licence asks for more."""

    weights: str = "from scratch"
    """Where the weights come from that the training starts with."""
    weights_license: str = ""

    data_source: str
    data_license: str
    """Both are set by :meth:`load`."""

    def __init__(self, config: C) -> None:
        self.config = config

    # --- data ----------------------------------------------------------------------------------

    @property
    def folds(self) -> int:
        """How many times the networks are fitted, each on its own training part. The last one is
        published; all are evaluated.
        """
        return 1

    def take_over(self, bundle: "Bundle") -> None:
        """Keep what an earlier version's weights need to mean the same, such as its tokenizer.
        Called before :meth:`load` where training starts from that version. Raises DataError.
        """

    @abstractmethod
    def load(self, data: Path | None) -> None:
        """Read the recipe's own source, or the user's files, and split. Raises DataError."""

    @abstractmethod
    def steps(self, fold: int) -> int:
        """How many batches :meth:`batches` gives in one epoch."""

    @abstractmethod
    def batches(self, fold: int, epoch: int) -> Iterable[Any]:
        """One epoch of CPU tensors (or tuples, dicts of them), shuffled by (seed, fold, epoch)."""

    # --- learning ------------------------------------------------------------------------------

    @abstractmethod
    def build(self, fold: int) -> Networks:
        """Fresh networks, initialised from torch's seeded generator."""

    @abstractmethod
    def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
        """Yield ``(network, loss)``; the loop takes that network's optimiser step before resuming.

        So a GAN yields twice a batch and its second loss sees the first step's weights. ``batch``
        is on the networks' device.
        """

    @abstractmethod
    def validate(self, networks: Networks, fold: int) -> float:
        """Loss on the validation part (lower is better); decides stopping and which epoch wins.
        Called in eval mode without gradients.
        """

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """One per network, by the same name; networks without one are not trained."""
        config: Any = self.config  # a Config: what learns by steps has one
        return {
            name: torch.optim.AdamW(
                network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
            )
            for name, network in networks.items()
        }

    def learning_rate(self, progress: float) -> float:
        """Multiple of the peak rate at ``progress`` from 0 to 1: short warm-up, then cosine."""
        warm_up = 0.05
        if progress < warm_up:
            return max(progress / warm_up, 0.01)
        phase = (progress - warm_up) / (1 - warm_up)
        return 0.5 * (1 + float(torch.cos(torch.tensor(phase * torch.pi)))) + 1e-3

    # --- result --------------------------------------------------------------------------------

    @abstractmethod
    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        """Score each fold's networks on data that neither training nor stopping saw.
        Networks are on the CPU, in eval mode, without gradients.
        """

    @abstractmethod
    def package(self, networks: Networks, folder: Path) -> Package:
        """The graphs and verbs of the last fold; assets such as a tokenizer go to ``folder``."""


class OneShot(Recipe[C]):
    """A recipe whose networks are finished when they are built: pretrained and taken as they are,
    or fitted by a library in one go. There are no steps, so there is nothing to resume.
    """

    smoke: ClassVar[Mapping[str, Any]] = {}

    def steps(self, fold: int) -> int:
        return 0

    def batches(self, fold: int, epoch: int) -> Iterable[Any]:
        return ()

    def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
        return iter(())

    def validate(self, networks: Networks, fold: int) -> float:
        return 0.0

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        return {}


class Learner(Protocol):
    """A library at work on one fold. What ``state_dict`` holds (numbers, tensors, arrays) and a
    round's number are all that the round depends on, so a killed run is resumed to the same end.
    """

    def learn(self, number: int) -> float:
        """Do that round, counted from 0; the validation loss after it (lower is better)."""

    def networks(self) -> Networks:
        """As they are now, on the CPU."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class InRounds(OneShot[R]):
    """A recipe that a library fits, a round at a time: it can be stopped and resumed between them,
    and the best round's networks are kept.
    """

    @abstractmethod
    def learner(self, fold: int) -> Learner:
        """Fresh, initialised from torch's seeded generator."""

    def build(self, fold: int) -> Networks:
        return self.learner(fold).networks()


def names() -> list[str]:
    """Every recipe there is: files in ``recipes/`` and entry points ``modelhub.recipes``."""
    package = importlib.import_module("training.recipes")
    found = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted(found | {point.name for point in entry_points(group="modelhub.recipes")})


def find(name: str) -> type[Recipe[Any]]:
    """The recipe's class. Raises UnknownRecipe."""
    for point in entry_points(group="modelhub.recipes"):
        if point.name == name:
            recipe: type[Recipe[Any]] = point.load()
            return recipe
    if name not in names():
        raise UnknownRecipe(f"no recipe {name!r}; there are {', '.join(names())}")
    module = importlib.import_module(f"training.recipes.{name}")
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Recipe)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise UnknownRecipe(f"recipes/{name}.py: expected one Recipe class; got {len(classes)}")
    return classes[0]


__all__ = [
    "MAIN_GRAPH", "Config", "Evaluation", "GraphExport", "HeldOut", "InRounds", "Learner",
    "Networks", "OneShot", "Package", "Recipe", "RoundsConfig", "Settings", "find", "names",
]  # fmt: skip
