"""A model with smaller weights, published where it still answers held-out data as well.

Nothing is trained, so this takes seconds. Models of text and all others differ in how they are made
smaller and in how they are judged; the gate and what is published are the same.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model_store.bundle import Bundle
from model_store.manifest import Draft, Manifest
from model_store.places import open_store
from training import report, weights
from training.errors import DataError, ParityError
from training.quantize_rows import RowTrial, row_trial
from training.quantize_text import TextTrial, text_trial

Kind = Literal["float16", "int4", "int8"]
Trial = TextTrial | RowTrial


@dataclass(frozen=True)
class Wish:
    """What the user asked for. ``most_loss``: how much of the score may be lost, as a share."""

    ref: str
    kind: Kind
    store: Path | str
    publish_as: str
    most_loss: float
    texts: Sequence[Path] = ()


def quantize(wish: Wish) -> Manifest:
    """Raises DataError for what cannot be done, ParityError where too much is lost, StoreError."""
    store = open_store(wish.store)
    bundle = store.open(wish.ref)
    trial = _trial(bundle, wish.texts)
    file = trial.graph.file
    with store.stage(wish.publish_as) as folder:
        for other in _kept(bundle.manifest, file):
            shutil.copyfile(bundle.path(other), folder / other)
        trial.shrink(bundle.path(file), folder / file, wish.kind)
        before, after = trial.measure(bundle.path(file)), trial.measure(folder / file)
        if not _share_lost(trial, before, after) <= wish.most_loss:  # nor for what is no number
            raise ParityError(
                f"{wish.kind}: {after:.4f} {trial.unit} in place of {before:.4f}"
                f" ({after / before - 1:+.1%}; {wish.most_loss:.1%} at most may be lost); nothing"
                " is published"
            )
        draft = _draft(bundle.manifest, wish, trial, before, after)
        card = report.card(wish.publish_as, draft, [])
        (folder / report.CARD_FILE).write_text(card, encoding="utf-8")
        return store.publish(wish.publish_as, folder, draft)


def _kept(manifest: Manifest, graph: str) -> list[str]:
    """What the smaller model needs too: no pictures and no card, which tell of the scores it had,
    and no weights, which are as large as ever.
    """
    return [
        file
        for file in manifest.files
        if file not in (graph, report.CARD_FILE, weights.FILE) and not file.endswith(".png")
    ]


def _share_lost(trial: Trial, before: float, after: float) -> float:
    """Of the score; below 0 where the smaller model is better."""
    return (after - before if trial.lower_is_better else before - after) / before


def _trial(bundle: Bundle, texts: Sequence[Path]) -> Trial:
    decoders = [graph for graph in bundle.manifest.graphs.values() if graph.decoding]
    if not decoders and not texts:
        return row_trial(bundle)
    for graph in decoders:
        if graph.decoding and graph.decoding.form == "shared" and not graph.decoding.source:
            return text_trial(bundle, graph, texts)
    raise DataError(
        f"{bundle.manifest.name}: expected a model that says text from a shared cache; it has none"
    )


def _draft(manifest: Manifest, wish: Wish, trial: Trial, before: float, after: float) -> Draft:
    words = f"{trial.words}, beside the same model in float32, which is"
    facts = {key: getattr(manifest, key) for key in Draft.model_fields}
    return Draft.model_validate(
        facts
        | {
            "description": f"{manifest.description} Weights in {wish.kind}.",
            "metrics": {trial.metric: after},
            "parity": {},  # that was of the whole weights
            "baselines": {"float32": {trial.metric: before}},
            "evaluation": f"{words} {manifest.name}@{manifest.version}.",
        }
    )
