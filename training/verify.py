"""The gate before publishing: ONNX Runtime equals torch, and no row depends on its batch mates."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from model_store.errors import ItemError
from model_store.manifest import Graph, Parity, Verb
from model_store.spec import Array, Tensors
from training import continuing
from training.errors import ParityError
from training.parity import difference, run
from training.recipe import GraphExport, Package


def verify(package: Package, graphs: dict[str, Graph], folder: Path) -> dict[str, Parity]:
    """Check each graph at 1, 3 and the most rows, and each verb's example. Raises ParityError."""
    sessions = {name: _session(folder / graph.file) for name, graph in graphs.items()}
    parity = {
        name: _compare(name, package.graphs[name], graph, sessions[name])
        for name, graph in graphs.items()
    }
    for name, verb in package.verbs.items():
        _try_example(name, verb, package, sessions, folder)
    return parity


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _compare(name: str, export: GraphExport, graph: Graph, session: Any) -> Parity:
    declared = {tensor.name: tensor for tensor in graph.outputs}
    most = graph.batching.max_rows
    together = min(3, most)
    counts = sorted({1, together, most})
    worst = 0.0
    for rows in counts:
        sample = export.sample(rows)
        feeds = {key: value.numpy() for key, value in sample.items()}
        expected = _by_torch(export, sample)
        got = run(session, feeds)
        for key, array in got.items():
            if len(array) != rows or array.dtype.name != declared[key].dtype:
                raise ParityError(f"{name}: output {key} is {array.dtype} of {len(array)} rows")
        where = f"{name} at {rows} rows"
        worst = max(worst, difference(where, expected, got, export.tolerance))
        if rows == together:
            _check_rows_alone(where, feeds, got, session, export.tolerance)
            _check_padding(where, feeds, got, session, export)
            if export.decoding:
                worst = max(worst, continuing.check(where, feeds, expected, session, export))
    return Parity(rows=tuple(counts), max_difference=worst, tolerance=export.tolerance)


def _by_torch(export: GraphExport, sample: Mapping[str, torch.Tensor]) -> Tensors:
    """What the graph's outputs should be; of one that is run token by token, the logits."""
    with torch.no_grad():
        if export.decoding and export.reference:
            return {export.decoding.logits: export.reference(sample).numpy()}
        outputs = export.module(*sample.values())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return {key: o.numpy() for key, o in zip(export.outputs, outputs, strict=True)}


def _check_rows_alone(
    where: str, feeds: Tensors, together: Tensors, session: Any, tolerance: float
) -> None:
    for row in range(len(next(iter(feeds.values())))):
        alone = run(session, {key: value[row : row + 1] for key, value in feeds.items()})
        mates = {key: value[row : row + 1] for key, value in together.items()}
        difference(f"{where}, row {row} alone", mates, alone, tolerance)


def _check_padding(
    where: str, feeds: Tensors, unpadded: Tensors, session: Any, export: GraphExport
) -> None:
    """At every length the server would pad this sample to."""
    for label, lengths in export.batching.pad.items():
        places = [
            (key, axis)
            for key in feeds
            for axis, named in export.axes.get(key, {}).items()
            if named == label
        ]
        if not places:
            raise ParityError(f"{where}: batching.pad names {label!r}, which is no axis")
        key, axis = places[0]
        size = feeds[key].shape[axis]
        if size >= max(lengths):
            raise ParityError(f"{where}: a sample of {size} {label} leaves nothing to pad")
        for length in (length for length in lengths if length > size):
            padded = feeds | {key: _pad(feeds[key], axis, length) for key, axis in places}
            got = {
                key: _cut(array, export.axes.get(key, {}), label, size)
                for key, array in run(session, padded).items()
            }
            difference(f"{where}, {label} padded to {length}", unpadded, got, export.tolerance)


def _pad(array: Array, axis: int, length: int) -> Array:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - array.shape[axis])
    return np.pad(array, widths)


def _cut(array: Array, axes: Mapping[int, str], label: str, size: int) -> Array:
    """Without what padding added."""
    for axis, named in axes.items():
        if named == label:
            array = array.take(range(size), axis)
    return array


def _try_example(
    name: str, verb: Verb, package: Package, sessions: Mapping[str, Any], folder: Path
) -> None:
    """The verb's own example must go in and come out as a caller's would."""
    for_input, for_answer = verb.read_parameters({})
    try:
        encoded = verb.input.encoder(folder)(verb.example, for_input)
        context: Mapping[str, Any]
        if package.graphs[verb.graph].decoding:
            rows, context = continuing.write(verb, package, sessions, encoded.tensors, folder)
        else:
            rows, context = run(sessions[verb.graph], encoded.tensors), encoded.context
        answer = verb.answer.answer(rows, context, for_answer)
        json.dumps(answer, allow_nan=False)
    except ItemError as error:
        raise ParityError(f"verb {name}: its example is refused: {error}") from None
    except (TypeError, ValueError) as error:
        raise ParityError(f"verb {name}: its example's answer is not JSON: {error}") from None
    if not answer:
        raise ParityError(f"verb {name}: its example has an empty answer")
