"""The only training loop. Knows networks, steps and devices; nothing of any task.

Devices, mixed precision and many processes are accelerate's: started by ``accelerate launch``,
each process takes every n-th batch and gradients are averaged.
"""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from training.checkpoint import Checkpoints
from training.errors import BadConfig
from training.progress import Reporter
from training.recipe import Config, Networks, OneShot, Recipe
from training.weights import Start

CHECKPOINT_EVERY_S = 15.0


@dataclass
class History:
    """What happened so far; saved with every checkpoint."""

    epoch: int = 0
    losses: dict[str, list[float]] = field(default_factory=dict)
    """Network → mean training loss of each epoch."""
    validation: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


@dataclass(frozen=True)
class Fitted:
    """Networks as they were at the best epoch, on the CPU and in eval mode."""

    networks: Networks
    history: History


def fit(
    recipe: Recipe[Any],
    fold: int,
    *,
    device: str,
    progress: Reporter,
    checkpoint: Path | None = None,
    resume: bool = False,
    start: Start | None = None,
) -> Fitted:
    """Train one fold until the epochs are over or validation stops getting better.

    ``device``: ``auto``, ``cpu`` or ``cuda``. ``checkpoint``: a folder of this fold's own, written
    every few seconds; with ``resume`` training goes on from it, to the same end as if it had never
    stopped. ``start``: weights to begin with in place of fresh ones. Raises BadConfig where there
    is no such device, DataError where the weights do not fit.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise BadConfig("--device cuda: torch sees no CUDA device here")
    set_seed((recipe.config.seed * 1000 + fold) % 2**32)
    if isinstance(recipe, OneShot):
        return _built(recipe, fold, progress)
    # Told of no device, accelerate would start each of many processes on a training of its own.
    accelerator = Accelerator(cpu=device == "cpu" or not torch.accelerator.is_available())
    loop = _Loop(recipe, fold, accelerator, start)
    if loop.afresh:
        progress.say(f"what the start has none of begins afresh: {', '.join(loop.afresh)}")
    checkpoints = Checkpoints(checkpoint, accelerator) if checkpoint else None
    if checkpoints and resume:
        checkpoints.load()
    elif checkpoints:
        checkpoints.clear()
    label = f"fold {fold + 1}/{recipe.folds}" if recipe.folds > 1 else ""
    progress.start(label, (recipe.config.epochs - loop.history.epoch) * recipe.steps(fold))
    saved_at = time.monotonic()
    while not loop.finished:
        loop.run_epoch(progress)
        due = loop.finished or time.monotonic() - saved_at > CHECKPOINT_EVERY_S
        if checkpoints and checkpoints.agreed(due):
            checkpoints.save(loop.history.epoch)
            saved_at = time.monotonic()
    networks = loop.best()
    progress.stop(loop.note())
    accelerator.free_memory()
    return Fitted(networks, loop.history)


def _built(recipe: OneShot[Any], fold: int, progress: Reporter) -> Fitted:
    started = time.monotonic()
    progress.start(f"fold {fold + 1}/{recipe.folds}" if recipe.folds > 1 else "", 1)
    networks = recipe.build(fold)
    for network in networks.values():
        network.requires_grad_(False).eval()
    progress.stop("made in one go")
    return Fitted(networks, History(seconds=time.monotonic() - started))


class _Loop:
    """One fold's networks, optimisers, running averages and history."""

    def __init__(
        self, recipe: Recipe[Any], fold: int, accelerator: Accelerator, start: Start | None
    ) -> None:
        self.recipe, self.fold, self.accelerator = recipe, fold, accelerator
        self.config: Config = recipe.config
        self.history = History()
        networks = recipe.build(fold)
        self.afresh = start.give(networks) if start else []
        optimizers = recipe.optimizers(networks)
        self.networks: Networks = {
            name: accelerator.prepare(network)
            if name in optimizers
            else network.to(accelerator.device)
            for name, network in networks.items()
        }
        self.optimizers = {name: accelerator.prepare(o) for name, o in optimizers.items()}
        self.peaks = {
            name: [group["lr"] for group in o.param_groups] for name, o in self.optimizers.items()
        }
        self.averages = {
            name: AveragedModel(
                accelerator.unwrap_model(network), avg_fn=self._mix, use_buffers=True
            )
            for name, network in self.networks.items()
            if self.config.average and name in self.optimizers
        }
        accelerator.register_for_checkpointing(self.history, *self.averages.values())

    def _mix(self, average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        # Short memory at the start, or the initial weights would linger in the average.
        decay = min(self.config.average, (1 + int(count)) / (10 + int(count)))
        if not average.is_floating_point():
            return value
        return average * decay + value * (1 - decay)

    @property
    def finished(self) -> bool:
        waited = self.history.epoch - 1 - self.history.best_epoch
        return self.history.epoch >= self.config.epochs or waited >= self.config.patience

    def run_epoch(self, progress: Reporter) -> None:
        started = time.monotonic()
        history, steps = self.history, self.recipe.steps(self.fold)
        totals: dict[str, float] = {}
        for name, network in self.networks.items():
            network.train(name in self.optimizers)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        # Every process takes equally many: one step more in one of them would wait for ever.
        batches = islice(
            self.recipe.batches(self.fold, history.epoch), rank, steps - steps % world, world
        )
        last = history.validation[-1] if history.validation else None
        for place, batch in enumerate(batches):
            done = (history.epoch + (place * world) / steps) / self.config.epochs
            losses = self._step(send_to_device(batch, self.accelerator.device), done)
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss
            progress.advance(sum(losses.values()), last, world)
        for name, total in totals.items():
            history.losses.setdefault(name, []).append(total / (steps // world))
        self._validate()
        history.epoch += 1
        history.seconds += time.monotonic() - started

    def _step(self, batch: Any, done: float) -> dict[str, float]:
        losses: dict[str, float] = {}
        multiple = self.recipe.learning_rate(min(done, 1.0))
        for name, loss in self.recipe.step(self.networks, batch):
            optimizer = self.optimizers[name]
            for group, peak in zip(optimizer.param_groups, self.peaks[name], strict=True):
                group["lr"] = peak * multiple
            optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(
                [p for group in optimizer.param_groups for p in group["params"]],
                self.config.clip_norm,
            )
            optimizer.step()
            losses[name] = losses.get(name, 0.0) + loss.detach().item()
        for name, average in self.averages.items():
            average.update_parameters(self.accelerator.unwrap_model(self.networks[name]))
        return losses

    def _validate(self) -> None:
        candidates = self._candidates()
        with torch.no_grad():
            value = float(self.recipe.validate(candidates, self.fold))
        if self.accelerator.num_processes > 1:
            # Each has seen other rows; one that stops before the rest would leave them waiting.
            mine = torch.tensor(value, device=self.accelerator.device)
            value = float(self.accelerator.reduce(mine, "mean"))
        history = self.history
        best = history.validation[history.best_epoch] if history.validation else math.nan
        history.validation.append(value)
        if math.isnan(best) or value < best:
            history.best_epoch = history.epoch
            history.best = {
                name: {key: tensor.cpu().clone() for key, tensor in network.state_dict().items()}
                for name, network in candidates.items()
            }

    def _candidates(self) -> Networks:
        """What would be published now: running averages where they are kept."""
        networks = {name: self.accelerator.unwrap_model(n) for name, n in self.networks.items()}
        networks |= {name: average.module for name, average in self.averages.items()}
        for network in networks.values():
            network.eval()
        return networks

    def best(self) -> Networks:
        networks = {name: copy.deepcopy(n).cpu() for name, n in self._candidates().items()}
        for name, network in networks.items():
            network.load_state_dict(self.history.best[name])
            network.requires_grad_(False).eval()
        return networks

    def note(self) -> str:
        history = self.history
        stopped = "stopped early, " if history.epoch < self.config.epochs else ""
        value = history.validation[history.best_epoch]
        best = f"best epoch {history.best_epoch + 1} of {history.epoch}"
        return f"{stopped}{best}, validation {value:.4f}"
