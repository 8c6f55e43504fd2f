"""A GRU that forecasts a day of electricity demand at midnight, with an 80 % interval.

Ten weeks are few, so the network starts as a good simple forecast and only learns what to add:

    forecast = mean of the same weekday in the last two weeks, on the level of the last hour
             + a linear skip from yesterday's errors + a small GRU along the day

All of it works on logarithms, as demand rises and falls by percent. TODO notes
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn

from model_store.answers.forecast import ForecastAnswer
from model_store.inputs.series import SeriesInput
from model_store.manifest import Category, Family, Verb
from model_store.spec import Array
from training.data import taylor
from training.errors import DataError
from training.recipe import MAIN_GRAPH, Config, Evaluation, GraphExport, Networks, Package, Recipe

COVERAGE = 0.8
MIN_TRAINING_DAYS = 14


class DemandConfig(Config):
    """Settings; the defaults suit half-hours. Other series: change column and steps_per_day."""

    column: str = Field(default="load", description="column of --data to forecast")
    steps_per_day: int = Field(default=48, ge=4, description="steps of the short season")
    days_per_week: int = Field(default=7, ge=1, description="short seasons in the long one")
    weeks: int = Field(default=2, ge=1, description="weeks of history the model sees")
    horizon: int = Field(default=48, ge=1, description="steps to forecast; at most a week")
    logarithm: bool = Field(default=True, description="errors are relative; needs values above 0")
    level_steps: int = Field(default=2, ge=1, description="last steps that set the level")
    test_days: int = Field(default=14, ge=1, description="days of a held-out part")
    test_parts: int = Field(default=3, ge=1, description="held-out parts, each with its own fit")
    validation_days: int = Field(default=7, ge=1, description="last days before a held-out part")
    members: int = Field(default=1, ge=1, description="networks averaged inside the graph")
    hidden: int = Field(default=8, ge=1, description="GRU units each way")
    ridge: float = Field(default=100.0, ge=0, description="how much the linear skip is held back")
    restraint: float = Field(default=1.0, ge=0, description="how much the GRU is held back")
    steps_per_epoch: int = Field(default=5, ge=1, description="batches between validations")


class Clues(NamedTuple):
    """What the networks see of a window; in logarithms if the series is read so."""

    base: Tensor  # [B, H] the forecast before any learning
    along: Tensor  # [B, H, 3] yesterday's error, last week's drift, the level, step by step
    blocks: Tensor  # [B, P // 2 + 1] yesterday's error in pairs of steps, and the level


class Reader(nn.Module):
    """Windows of raw values → clues. Nothing in here is learned."""

    def __init__(self, config: DemandConfig) -> None:
        super().__init__()
        self.day = config.steps_per_day
        self.week = config.steps_per_day * config.days_per_week
        self.weeks, self.horizon = config.weeks, config.horizon
        self.tail, self.logarithm = config.level_steps, config.logarithm
        self.length = self.weeks * self.week + self.day

    def scaled(self, values: Tensor) -> Tensor:
        return values.clamp(min=1e-6).log() if self.logarithm else values

    def unscaled(self, values: Tensor) -> Tensor:
        return values.exp() if self.logarithm else values

    def forward(self, series: Tensor) -> Clues:
        """``series``: [B, T, 1] of ``length`` steps, the last of them the last of a day."""
        x = self.scaled(series[:, :, 0])
        ago = [self.length - back * self.week for back in range(1, self.weeks + 1)]
        now = torch.stack([x[:, start : start + self.horizon] for start in ago])  # [W, B, H]
        then = torch.stack([x[:, start - self.day : start] for start in ago])  # [W, B, P]
        error = x[:, -self.day :] - then.mean(0)  # [B, P] of the mean of weeks, yesterday
        level = error[:, -self.tail :].mean(1, keepdim=True)
        error = error - level
        drift = (now[0] - now.mean(0)) - (then[0] - then.mean(0)).mean(1, keepdim=True)
        steps = [step % self.day for step in range(self.horizon)]
        along = torch.stack([error[:, steps], drift, level.expand(-1, self.horizon)], dim=-1)
        pairs = nn.functional.avg_pool1d(error[:, None], 2)[:, 0]
        return Clues(now.mean(0) + level, along, torch.cat([pairs, level], dim=1))


class Member(nn.Module):
    """A linear skip and a two-way GRU along the day; says nothing until it has learned."""

    def __init__(self, config: DemandConfig) -> None:
        super().__init__()
        self.skip = nn.Linear(config.steps_per_day // 2 + 1, config.horizon, bias=False)
        self.gru = nn.GRU(3 + 4, config.hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * config.hidden, 3)
        self.spread = nn.Parameter(torch.zeros(2, config.horizon))
        for parameter in (self.skip.weight, self.head.weight, self.head.bias):
            nn.init.zeros_(parameter)
        turn = torch.arange(config.horizon) * (2 * torch.pi / config.steps_per_day)
        clock = torch.stack([turn.sin(), turn.cos(), (2 * turn).sin(), (2 * turn).cos()], dim=-1)
        self.register_buffer("clock", 0.5 * clock)

    def forward(self, along: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """→ middle, below, above [3, B, H] and the GRU's part of the middle [B, H]."""
        clock = self.clock.expand(len(along), -1, -1)  # type: ignore[operator]
        says = self.head(self.gru(torch.cat([along, clock], dim=-1))[0])  # [B, H, 3]
        middle = self.skip(blocks) + says[..., 0]
        below, above = ((self.spread[i] + says[..., 1 + i]).exp() for i in range(2))
        return torch.stack([middle, below, above]), says[..., 0]


class Corrector(nn.Module):
    """Clues in units of their spread → what to add to the base, in units of the base's error."""

    def __init__(self, config: DemandConfig) -> None:
        super().__init__()
        self.members = nn.ModuleList(Member(config) for _ in range(config.members))
        self.register_buffer("clue_scale", torch.ones(()))
        self.register_buffer("error_scale", torch.ones(()))
        self.register_buffer("widen", torch.ones(()))

    def forward(self, along: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """→ each member's middle, below and above [M, 3, B, H], and its GRU's part [M, B, H]."""
        says = [member(along, blocks) for member in self.members]
        return torch.stack([said for said, _ in says]), torch.stack([part for _, part in says])


class Forecaster(nn.Module):
    """What is served: raw series → values, lower, upper [B, H, 1] in the units of the series."""

    def __init__(self, reader: Reader, corrector: nn.Module) -> None:
        super().__init__()
        self.reader, self.corrector = reader, corrector

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net: Any = self.corrector
        clues = self.reader(series)
        says, _ = net(clues.along / net.clue_scale, clues.blocks / net.clue_scale)
        middle, below, above = (says.mean(0) * net.error_scale).unbind(0)  # [B, H]
        middle = clues.base + middle
        bounds = (middle, middle - below * net.widen, middle + above * net.widen)
        values, lower, upper = (self.reader.unscaled(bound)[..., None] for bound in bounds)
        return values, lower, upper


@dataclass
class Part:
    """One fold: windows [N, T, 1] and what came after them [N, H], for training and stopping."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


class RnnDemand(Recipe[DemandConfig]):
    """Forecasts the next day of a series with a daily and a weekly rhythm."""

    family: ClassVar[Family] = "rnn"
    category: ClassVar[Category] = "series"
    task = "forecasting"
    description = "x"
    data_formats = "x"
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": DemandConfig(epochs=20, learning_rate=2e-3),
        "full": DemandConfig(epochs=40, learning_rate=1e-3, members=5),
    }

    @property
    def folds(self) -> int:
        return self.config.test_parts

    def load(self, data: Path | None) -> None:
        c = self.config
        self.reader = Reader(c)
        series = taylor.load(data, column=c.column, min_steps=1)
        self.data_source, self.data_license = series.source, series.license
        self.values = torch.tensor(series.values, dtype=torch.float32)
        self.parts = [self._part(f) for f in range(self.folds)]

    def _windows(self, origins: Iterable[int]) -> tuple[Tensor, Tensor]:
        T, H = self.reader.length, self.config.horizon
        o = list(origins)
        return torch.stack([self.values[i - T : i] for i in o])[..., None], torch.stack(
            [self.values[i : i + H] for i in o]
        )

    def _part(self, fold: int) -> Part:
        c = self.config
        P = c.steps_per_day
        last = len(self.values) // P - (c.horizon - 1) // P
        end = last - c.test_days * (self.folds - fold - 1)
        test = end - c.test_days
        val = test - c.validation_days
        first = -(-self.reader.length // P)
        gap = (c.horizon - 1) // P
        spans = [(first, val - gap), (val, test - gap), (test, end)]
        return Part(*(self._windows(d * P for d in range(*s)) for s in spans))

    def steps(self, fold: int) -> int:
        return self.config.steps_per_epoch

    def _scales(self, fold):
        clues, target = self._clues(self.parts[fold].train)
        return clues.along[..., 0].std(), target.std()

    def _clues(self, windows: tuple[Tensor, Tensor]) -> tuple[Clues, Tensor]:
        clues = self.reader(windows[0])
        return clues, self.reader.scaled(windows[1]) - clues.base

    def batches(self, fold: int, epoch: int) -> Iterable[Any]:
        g = torch.Generator().manual_seed(self.config.seed * 1000003 + fold * 1009 + epoch)
        clues, target = self._clues(self.parts[fold].train)
        cs, ts = self._scales(fold)
        rows = (clues.along / cs, clues.blocks / cs, target / ts)
        n = len(target)
        for _ in range(self.steps(fold)):
            i, j = torch.randint(n, (2, self.config.batch_size), generator=g)
            turn = 2 * torch.pi * torch.rand(self.config.batch_size, generator=g)
            yield tuple(
                r[i] * turn.cos().view(-1, *[1] * (r.ndim - 1))
                + r[j] * turn.sin().view(-1, *[1] * (r.ndim - 1))
                for r in rows
            )

    def build(self, fold: int) -> Networks:
        net = Corrector(self.config)
        cs, ts = self._scales(fold)
        net.clue_scale.copy_(cs)
        net.error_scale.copy_(ts)
        return {"corrector": net}

    def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
        along, blocks, target = batch
        says, part = networks["corrector"](along, blocks)
        middle, below, above = says.unbind(1)  # [M,B,H]
        e = target - middle
        loss = e.abs().mean()
        ed = e.detach()
        lo, hi = ed + below, ed - above
        q = (1 - COVERAGE) / 2
        loss = loss + torch.maximum(q * lo, (q - 1) * lo).mean()
        loss = loss + torch.maximum((1 - q) * hi, -q * hi).mean()
        W = sum(p.square().sum() for n, p in networks["corrector"].named_parameters() if "skip" in n)
        n = len(self.parts[0].train[0])
        loss = loss + 0.5 * self.config.ridge / n / self.config.horizon * W / self.config.members + self.config.restraint * part.square().mean()
        yield "corrector", loss

    def validate(self, networks: Networks, fold: int) -> float:
        net: Any = networks["corrector"]
        series, truth = self.parts[fold].validation
        f = Forecaster(self.reader, net)
        net.widen.fill_(1.0)
        v, lo, hi = (self.reader.scaled(t[..., 0]) for t in f(series))
        y = self.reader.scaled(truth)
        r = torch.maximum((v - y) / (v - lo), (y - v) / (hi - v))
        net.widen.fill_(max(1.0, float(r.flatten().quantile(COVERAGE))))
        self.wid = float(net.widen)
        return float((v - y).abs().mean() / net.error_scale)

    def evaluate(self, fitted):
        raise NotImplementedError

    def package(self, networks, folder):
        raise NotImplementedError
