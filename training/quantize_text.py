"""Decoders with weights of 4 or 8 bits, judged by what a held-out token costs.

Weights of matrix products become whole numbers in blocks of 32 with a scale each
(``com.microsoft::MatMulNBits``); products are of 8-bit numbers. All else stays as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from model_store.bundle import Bundle
from model_store.decoding import Decoding
from model_store.manifest import Graph
from model_store.spec import Array
from training import recipe as recipes
from training.errors import DataError
from training.export import quiet
from training.parity import run

BITS = {"int4": 4, "int8": 8}
BLOCK, INT8_PRODUCTS = 32, 4
ROWS, TOKENS = 64, 128
"""Held-out windows that both graphs are asked about, and how long each is."""


@dataclass(frozen=True)
class TextTrial:
    """``tokens``: int64 ``[B, T]``, held out."""

    graph: Graph
    tokens: Array
    metric = "cross_entropy"
    unit = "nats a held-out token"
    lower_is_better = True

    @property
    def words(self) -> str:
        rows, length = self.tokens.shape
        return f"Nats a token on {rows} held-out windows of {length} tokens"

    def shrink(self, source: Path, target: Path, kind: str) -> None:
        if kind not in BITS:
            raise DataError(f"--to {kind}: expected one of {', '.join(BITS)} for a model of text")
        quantizer = MatMulNBitsQuantizer(
            onnx.load(source), bits=BITS[kind], block_size=BLOCK, is_symmetric=True,
            accuracy_level=INT8_PRODUCTS,
        )  # fmt: skip
        with quiet():
            quantizer.process()
        onnx.save(quantizer.model.model, target)

    def measure(self, path: Path) -> float:
        return cross_entropy(path, self.graph, self.tokens)


def text_trial(bundle: Bundle, graph: Graph, files: Sequence[Path]) -> TextTrial:
    """On the user's ``files``, else on what the model's own recipe holds out. Raises DataError."""
    return TextTrial(graph, _from_files(bundle, files) if files else _from_recipe(bundle))


def cross_entropy(path: Path, graph: Graph, tokens: Array) -> float:
    """Nats a token of int64 ``[B, T]``, each told from those before it in its row."""
    decoding = graph.decoding
    if decoding is None or decoding.lengths is None or decoding.wanted is None:
        raise DataError(f"{path.name}: expected a graph with a shared cache and a choice of places")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    losses = [_losses(session, graph, decoding, row) for row in tokens[:, None, :]]
    return float(np.concatenate(losses).mean())


def _losses(session: Any, graph: Graph, decoding: Decoding, row: Array) -> Array:
    length = row.shape[1]
    shapes = {tensor.name: tensor.shape for tensor in graph.inputs}
    feeds = {
        decoding.tokens: row,
        str(decoding.lengths): np.array([length - 1], np.int32),
        str(decoding.wanted): np.arange(length - 1)[None],
        **{
            name: np.zeros((1, int(shapes[name][1]), length, int(shapes[name][3])), np.float32)
            for name in decoding.cache
        },
    }
    logits = run(session, feeds)[decoding.logits][0].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    told = logits[np.arange(length - 1), row[0, 1:]]
    losses: Array = np.log(np.exp(logits).sum(axis=1)) - told
    return losses


def _from_recipe(bundle: Bundle) -> Array:
    """Windows of the text that its own recipe holds out."""
    origin = bundle.manifest.provenance
    ways = "give text that it has not seen with --text FILE"
    if origin is None:
        raise DataError(f"{bundle.manifest.name}: nobody knows how it was made; {ways}")
    kind = recipes.find(origin.recipe)
    recipe = kind(type(kind.profiles["quick"]).model_validate(origin.config))
    if not hasattr(recipe, "sample"):
        raise DataError(f"{origin.recipe} holds out no text; {ways}")
    recipe.load(None)
    tokens: Array = recipe.sample(ROWS)["tokens"].numpy()
    return tokens


def _from_files(bundle: Bundle, files: Sequence[Path]) -> Array:
    """Windows of a user's text, evenly spread. Raises DataError."""
    from tokenizers import Tokenizer

    verb = bundle.manifest.verbs.get("generate")
    if verb is None or verb.input.kind != "text":
        raise DataError(f"{bundle.manifest.name}: expected a model that goes on with text")
    tokenizer = Tokenizer.from_file(str(bundle.path(verb.input.tokenizer)))
    try:
        text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--text: expected UTF-8 text files; {error}") from None
    ids = np.array(tokenizer.encode(text).ids, np.int64)
    if len(ids) < 2 * TOKENS:
        raise DataError(f"--text: expected at least {2 * TOKENS} tokens; got {len(ids)}")
    rows = min(ROWS, len(ids) // TOKENS)
    starts = np.linspace(0, len(ids) - TOKENS, rows).astype(int)
    return np.stack([ids[start : start + TOKENS] for start in starts])
