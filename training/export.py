"""Torch module → ONNX file with named dynamic axes, and the graph's entry for the manifest."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch

from model_store.manifest import Graph, Tensor
from training.recipe import GraphExport

ROW_AXIS = "batch"
OPSET = 20
EXAMPLE_ROWS = 3  # more than one: an axis of length 1 would be taken for a constant


def export(name: str, graph: GraphExport, folder: Path) -> Graph:
    """Write ``<name>.onnx`` into ``folder``."""
    sample = graph.sample(EXAMPLE_ROWS)
    shapes: list[dict[int, Any]] = []
    dims: dict[str, Any] = {}
    for key in sample:
        axes = {0: ROW_AXIS, **graph.axes.get(key, {})}
        shapes.append(
            {axis: dims.setdefault(label, torch.export.Dim(label)) for axis, label in axes.items()}
        )
    path = folder / f"{name}.onnx"
    with _quiet():
        torch.onnx.export(
            graph.module.eval(),
            tuple(sample.values()),
            str(path),
            dynamo=True,
            input_names=list(sample),
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(shapes),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return Graph(
        file=path.name,
        inputs=tuple(_spec(value) for value in model.graph.input),
        outputs=tuple(_spec(value) for value in model.graph.output),
        batching=graph.batching,
    )


def _spec(value: onnx.ValueInfoProto) -> Tensor:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return Tensor.model_validate({"name": value.name, "dtype": dtype, "shape": shape})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of its own internals; errors still rise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
