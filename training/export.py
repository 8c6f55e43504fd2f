"""Torch module → ONNX file with named dynamic axes, and the graph's entry for the manifest."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from model_store.manifest import Graph, Tensor
from training.errors import ParityError
from training.recipe import GraphExport

ROW_AXIS = "batch"
CHATTY = ("torch.onnx", "onnxscript", "onnx_ir", "onnxruntime.quantization")
OPSET = 20
EXAMPLE_ROWS = 3  # more than one: an axis of length 1 would be taken for a constant


def export(name: str, graph: GraphExport, folder: Path) -> Graph:
    """Write ``<name>.onnx`` into ``folder``. Raises ParityError where an axis came out fixed."""
    sample = graph.sample(EXAMPLE_ROWS)
    axes = {key: {0: ROW_AXIS, **graph.axes.get(key, {})} for key in (*sample, *graph.outputs)}
    dims = {label: torch.export.Dim(label) for key in sample for label in axes[key].values()}
    shapes = [{axis: dims[label] for axis, label in axes[key].items()} for key in sample]
    path = folder / f"{name}.onnx"
    with quiet():
        program: Any = torch.onnx.export(
            graph.module.eval(),
            tuple(sample.values()),
            dynamo=True,
            input_names=list(sample),
            output_names=list(graph.outputs),
            dynamic_shapes=_by_parameter(graph.module, shapes),
            opset_version=OPSET,
            verbose=False,
        )
        _leave_names(program.model.graph)
        ClearMetadataAndDocStringPass()(program.model)  # stack traces, with this machine's folders
        program.save(str(path), external_data=False)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    exported = Graph(
        file=path.name,
        inputs=tuple(_spec(value) for value in model.graph.input),
        outputs=tuple(_spec(value) for value in model.graph.output),
        batching=graph.batching,
        decoding=graph.decoding,
    )
    _check_axes(name, exported, axes)
    return exported


def _by_parameter(module: torch.nn.Module, shapes: Sequence[Any]) -> tuple[Any, ...]:
    """The exporter wants those of ``*tensors`` together, as one argument."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return tuple(shapes)
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*shapes[:named], tuple(shapes[named:]))


def _leave_names(graph: onnx_ir.Graph) -> None:
    """Inner values are named after operations and buffers; here they make room for the outputs."""
    outputs = {value.name: value for value in graph.outputs}
    made = (value for node in graph.all_nodes() for value in node.outputs)
    for value in (*made, *graph.initializers.values()):
        if outputs.get(value.name, value) is not value:
            value.name = f"{value.name}.inner"


def _check_axes(name: str, graph: Graph, axes: Mapping[str, Mapping[int, str]]) -> None:
    """An axis that the module pins down is fixed by the exporter without a word."""
    for tensor in (*graph.inputs, *graph.outputs):
        for axis, label in axes[tensor.name].items():
            if tensor.shape[axis] != label:
                raise ParityError(
                    f"{name}: axis {axis} of {tensor.name} came out as {tensor.shape[axis]!r},"
                    f" not as {label!r}: the module fixes it"
                )


def _spec(value: onnx.ValueInfoProto) -> Tensor:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return Tensor.model_validate({"name": value.name, "dtype": dtype, "shape": shape})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """These libraries print their progress and warn of their own internals; errors still rise."""
    loggers = [logging.getLogger(name) for name in CHATTY]
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
