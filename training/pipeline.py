"""A training run from data to published bundle, one line a stage. Knows no recipe in particular."""

import contextlib
import hashlib
import json
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from model_store.manifest import Draft, Graph, Manifest, Parity, Provenance
from model_store.places import Place, open_store
from model_store.store import Store, check_name
from training import report, weights
from training.errors import BadConfig, WorseScore
from training.export import export
from training.fit import Fitted, fit
from training.progress import Reporter
from training.recipe import Evaluation, OneShot, Package, Recipe
from training.verify import verify
from training.weights import Start

RECORDED = ("modelhub", "torch", "onnx", "onnxscript", "onnxruntime", "accelerate", "numpy")


@dataclass(frozen=True)
class Order:
    """What the user asked for."""

    name: str
    """The recipe's."""
    profile: str
    store: Place
    publish_as: str
    data: Path | None = None
    device: str = "auto"
    resume: bool = False
    description: str = ""
    """In place of the recipe's: with the user's own data it is another model."""
    start: str = ""
    """REF of an earlier version to start from; empty: from the beginning."""
    force: bool = False
    """Publish also what scores worse than the version that is served."""


def run(order: Order, recipe: Recipe[Any], progress: Reporter) -> Manifest | None:
    """Train, prove, publish. None in all but the main process of a distributed run.

    Raises DataError, BadConfig, ParityError, WorseScore, StoreError; nothing is published then.
    """
    store = open_store(order.store)
    check_name(order.publish_as)
    torch.set_num_threads(recipe.config.threads)
    start = weights.open_start(store.open(order.start)) if order.start else None
    if start:
        _check_start(start, order)
        recipe.take_over(start.bundle)
    recipe.load(order.data)
    if start:
        _check_unseen(start, order, recipe)
    work = _work_folder(order, store, recipe)
    fitted = [
        fit(recipe, fold, device=order.device, progress=progress, checkpoint=work / f"fold-{fold}",
            resume=order.resume, start=start)
        for fold in range(recipe.folds)
    ]  # fmt: skip
    if not PartialState().is_main_process:
        return None
    scores = recipe.evaluate([fold.networks for fold in fitted])
    if not order.force:
        _check_no_worse(order, recipe, scores, store)
    with store.stage(order.publish_as) as folder:
        if not isinstance(recipe, OneShot):
            weights.save(fitted[-1].networks, fitted[-1].history.losses, folder)
        package = recipe.package(fitted[-1].networks, folder)
        graphs = {name: export(name, graph, folder) for name, graph in package.graphs.items()}
        parity = verify(package, graphs, folder)
        draft = _draft(order, recipe, package, graphs, parity, scores, fitted, start)
        report.write(folder, order.publish_as, draft, [f.history for f in fitted], scores)
        manifest = store.publish(order.publish_as, folder, draft)
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.parent.rmdir()  # unless another run's checkpoints are there
    progress.say(_announcement(manifest))
    return manifest


def _work_folder(order: Order, store: Store, recipe: Recipe[Any]) -> Path:
    """Checkpoints of one recipe, name, config, data and start; no other ever resumes from them."""
    facts = [order.name, recipe.config.model_dump(mode="json"), str(order.data), order.start]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return store.root / ".training" / f"{order.publish_as}-{digest}"


def _check_start(start: Start, order: Order) -> None:
    """Raises BadConfig for another recipe's weights."""
    made_by = start.origin.recipe
    if made_by != order.name:
        raise BadConfig(
            f"--from {start.ref}: expected a version made by {order.name}; got {made_by}"
        )


def _check_unseen(start: Start, order: Order, recipe: Recipe[Any]) -> None:
    """Raises BadConfig where the earlier version learned from what is now held out."""
    if order.data is not None or start.origin.data != recipe.data_source:
        return  # the evaluation says so
    if recipe.folds > 1:
        raise BadConfig(
            f"--from {start.ref}: it learned from what all but the last of {recipe.folds} folds are"
            " scored on; give other data with --data"
        )
    if start.origin.seed != recipe.config.seed:
        raise BadConfig(
            f"--seed {recipe.config.seed}: expected {start.origin.seed}, as {start.ref} has;"
            " another seed may hold out what it learned from"
        )


def _check_no_worse(order: Order, recipe: Recipe[Any], scores: Evaluation, store: Store) -> None:
    """Raises WorseScore where the version that a bare name means scores better on data of the same
    source, split by the same seed. Other splits say nothing.
    """
    if not store.versions(order.publish_as):
        return
    served = store.open(order.publish_as).manifest
    origin = served.provenance
    metric, value = next(iter(scores.metrics.items()))
    same = origin and (origin.recipe, origin.data, origin.seed) == (
        order.name, recipe.data_source, recipe.config.seed,
    )  # fmt: skip
    if not same or next(iter(served.metrics), None) != metric:
        return
    better = served.metrics[metric]
    if value > better if recipe.lower_is_better else value < better:
        raise WorseScore(
            f"{metric.replace('_', ' ')} {value:.4g}, and {better:.4g} of {order.publish_as}@"
            f"{served.version} on what the same seed holds out of the same data; nothing is"
            " published; --resume --force publishes it all the same"
        )


def _draft(
    order: Order,
    recipe: Recipe[Any],
    package: Package,
    graphs: dict[str, Graph],
    parity: dict[str, Parity],
    scores: Evaluation,
    fitted: Sequence[Fitted],
    start: Start | None,
) -> Draft:
    evaluation = scores.description
    if start and order.data is not None:
        evaluation += (
            f" Training started from {start.ref}: where these data overlap with what it learned"
            " from, the scores are optimistic."
        )
    return Draft(
        family=recipe.family,
        category=recipe.category,
        task=recipe.task,
        description=order.description or recipe.description,
        license=_license(recipe, start),
        graphs=graphs,
        verbs=package.verbs,
        metrics=scores.metrics,
        baselines=scores.baselines,
        evaluation=evaluation,
        parity=parity,
        provenance=Provenance(
            recipe=order.name,
            profile=order.profile,
            config=recipe.config.model_dump(mode="json"),
            seed=recipe.config.seed,
            data=recipe.data_source,
            data_license=recipe.data_license,
            weights=recipe.weights,
            weights_license=recipe.weights_license,
            start=start.ref if start else "",
            train_seconds=round(sum(fold.history.seconds for fold in fitted), 1),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            packages={package: version(package) for package in RECORDED},
        ),
    )


def _license(recipe: Recipe[Any], start: Start | None) -> str:
    """The recipe's, but what was learned under a stricter one stays under it, whatever is learned
    on top.
    """
    earlier = start.bundle.manifest.license if start else Recipe.license
    return recipe.license if earlier == Recipe.license else earlier


def _announcement(manifest: Manifest) -> str:
    """One line: what was published, its headline score, the baselines beside it."""
    metric, value = next(iter(manifest.metrics.items()))
    beside = ", ".join(
        f"{name.replace('_', ' ')} {values[metric]:.4g}"
        for name, values in manifest.baselines.items()
        if metric in values
    )
    words = f"published {manifest.name}@{manifest.version}: {metric.replace('_', ' ')} {value:.4g}"
    return words + (f" (baselines: {beside})" if beside else "")
