"""A training run from data to published bundle, one line a stage. Knows no recipe in particular."""

import contextlib
import hashlib
import json
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
from training import report
from training.export import export
from training.fit import Fitted, fit
from training.progress import Reporter
from training.recipe import Evaluation, Package, Recipe
from training.verify import verify

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


def run(order: Order, recipe: Recipe[Any], progress: Reporter) -> Manifest | None:
    """Train, prove, publish. None in all but the main process of a distributed run.

    Raises DataError, ParityError, StoreError; nothing is published then.
    """
    store = open_store(order.store)
    check_name(order.publish_as)
    torch.set_num_threads(recipe.config.threads)
    recipe.load(order.data)
    work = _work_folder(order, store, recipe)
    fitted = [
        fit(recipe, fold, device=order.device, progress=progress, checkpoint=work / f"fold-{fold}",
            resume=order.resume)
        for fold in range(recipe.folds)
    ]  # fmt: skip
    if not PartialState().is_main_process:
        return None
    scores = recipe.evaluate([fold.networks for fold in fitted])
    with store.stage(order.publish_as) as folder:
        package = recipe.package(fitted[-1].networks, folder)
        graphs = {name: export(name, graph, folder) for name, graph in package.graphs.items()}
        parity = verify(package, graphs, folder)
        draft = _draft(order, recipe, package, graphs, parity, scores, fitted)
        report.write(folder, order.publish_as, draft, [f.history for f in fitted], scores)
        manifest = store.publish(order.publish_as, folder, draft)
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.parent.rmdir()  # unless another run's checkpoints are there
    progress.say(_announcement(manifest))
    return manifest


def _work_folder(order: Order, store: Store, recipe: Recipe[Any]) -> Path:
    """Checkpoints of one recipe, name, config and data; another config never resumes from them."""
    facts = [order.name, recipe.config.model_dump(mode="json"), str(order.data)]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return store.root / ".training" / f"{order.publish_as}-{digest}"


def _draft(
    order: Order,
    recipe: Recipe[Any],
    package: Package,
    graphs: dict[str, Graph],
    parity: dict[str, Parity],
    scores: Evaluation,
    fitted: Sequence[Fitted],
) -> Draft:
    return Draft(
        family=recipe.family,
        category=recipe.category,
        task=recipe.task,
        description=order.description or recipe.description,
        license=recipe.license,
        graphs=graphs,
        verbs=package.verbs,
        metrics=scores.metrics,
        baselines=scores.baselines,
        evaluation=scores.description,
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
            train_seconds=round(sum(fold.history.seconds for fold in fitted), 1),
            packages={package: version(package) for package in RECORDED},
        ),
    )


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
