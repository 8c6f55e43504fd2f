"""Graphs of rows in half precision or in 8 bits, judged by their own recipe on held-out rows.

8 bits are static: the ranges of what flows between the layers are measured once, on real rows, and
weights have a scale for each output channel (``QuantizeLinear``, ``DequantizeLinear``). Recurrent
layers stay in float32, as ONNX Runtime has none of whole numbers.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from accelerate.utils import set_seed
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from model_store.bundle import Bundle
from model_store.manifest import MAIN_GRAPH, Graph
from model_store.spec import Array, Tensors
from training import recipe as recipes
from training import weights
from training.errors import DataError
from training.export import quiet
from training.parity import run
from training.recipe import GraphExport, HeldOut, Networks, OneShot, Recipe

KINDS = ("float16", "int8")
CALIBRATION_ROWS = 64
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What gets weights of 8 bits: nearly all of the work."""


@dataclass(frozen=True)
class RowTrial:
    """``export``: the graph's own, whose samples are real rows."""

    graph: Graph
    export: GraphExport
    held_out: HeldOut
    lower_is_better = False

    @property
    def metric(self) -> str:
        return self.held_out.metric

    @property
    def unit(self) -> str:
        return self.metric.replace("_", " ")

    @property
    def words(self) -> str:
        return f"The {self.unit} on what its recipe holds out"

    def shrink(self, source: Path, target: Path, kind: str) -> None:
        if kind == "float16":
            model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
            onnx.save(model, target)
        elif kind == "int8":
            self._to_int8(source, target)
        else:
            raise DataError(f"--to {kind}: expected one of {', '.join(KINDS)} for this model")

    def _to_int8(self, source: Path, target: Path) -> None:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared, target, _Rows(self.export), quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(PRODUCTS), per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip

    def measure(self, path: Path) -> float:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        parts: dict[str, list[Array]] = {}
        for inputs in self.held_out.inputs():
            feeds: Tensors = {key: value.numpy() for key, value in inputs.items()}
            for key, array in run(session, feeds).items():
                parts.setdefault(key, []).append(array)
        outputs = {key: np.concatenate(part) for key, part in parts.items()}
        if not all(np.isfinite(array).all() for array in outputs.values()):
            return math.nan  # such as of a number that is too large for half precision
        return self.held_out.score(outputs)


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    """Real rows, a few at a time."""

    def __init__(self, export: GraphExport) -> None:
        most = min(CALIBRATION_ROWS, export.batching.max_rows)
        sample = {key: value.numpy() for key, value in export.sample(most).items()}
        self._rows: Iterator[Tensors] = (
            {key: value[place : place + 8] for key, value in sample.items()}
            for place in range(0, most, 8)
        )

    def get_next(self) -> Any:
        return next(self._rows, None)


def row_trial(bundle: Bundle) -> RowTrial:
    """Build the model anew from its weights, with its data, to know its rows. Raises DataError."""
    manifest, origin = bundle.manifest, bundle.manifest.provenance
    if origin is None or MAIN_GRAPH not in manifest.graphs:
        raise DataError(f"{manifest.name}: expected a model that a recipe made here")
    kind = recipes.find(origin.recipe)
    recipe = kind(type(kind.profiles["quick"]).model_validate(origin.config))
    recipe.take_over(bundle)
    recipe.load(None)
    if origin.data != recipe.data_source:
        raise DataError(
            f"{manifest.name}: expected a model of its recipe's own data; it learned from"
            f" {origin.data}"
        )
    with tempfile.TemporaryDirectory() as folder:
        package = recipe.package(_networks(recipe, bundle), Path(folder))
    export = package.graphs[MAIN_GRAPH]
    if export.held_out is None:
        raise DataError(f"{origin.recipe} does not say how its graph is judged on held-out rows")
    return RowTrial(manifest.graphs[MAIN_GRAPH], export, export.held_out)


def _networks(recipe: Recipe[Any], bundle: Bundle) -> Networks:
    fold = recipe.folds - 1
    set_seed((recipe.config.seed * 1000 + fold) % 2**32)
    networks = recipe.build(fold)
    if not isinstance(recipe, OneShot):
        weights.open_start(bundle).give(networks)
    for network in networks.values():
        network.requires_grad_(False).eval()
    return networks
