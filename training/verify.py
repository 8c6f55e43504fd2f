"""The gate before publishing: ONNX Runtime equals torch, and no row depends on its batch mates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from model_store.errors import ItemError
from model_store.manifest import Graph, Parity, Verb
from model_store.spec import Array, Tensors
from training.errors import ParityError
from training.recipe import GraphExport, Package


def verify(package: Package, graphs: dict[str, Graph], folder: Path) -> dict[str, Parity]:
    """Check each graph at 1, 3 and the most rows, and each verb's example. Raises ParityError."""
    sessions = {name: _session(folder / graph.file) for name, graph in graphs.items()}
    parity = {
        name: _compare(name, package.graphs[name], graph, sessions[name])
        for name, graph in graphs.items()
    }
    for name, verb in package.verbs.items():
        _try_example(name, verb, sessions[verb.graph], folder)
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
        with torch.no_grad():
            outputs = export.module(*sample.values())
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        expected = {key: o.numpy() for key, o in zip(export.outputs, outputs, strict=True)}
        got = _run(session, feeds)
        for key, array in got.items():
            if len(array) != rows or array.dtype.name != declared[key].dtype:
                raise ParityError(f"{name}: output {key} is {array.dtype} of {len(array)} rows")
        where = f"{name} at {rows} rows"
        worst = max(worst, _difference(where, expected, got, export.tolerance))
        if rows == together:
            _check_rows_alone(where, feeds, got, session, export.tolerance)
            _check_padding(where, feeds, got, session, export)
    return Parity(rows=tuple(counts), max_difference=worst, tolerance=export.tolerance)


def _check_rows_alone(
    where: str, feeds: Tensors, together: Tensors, session: Any, tolerance: float
) -> None:
    for row in range(len(next(iter(feeds.values())))):
        alone = _run(session, {key: value[row : row + 1] for key, value in feeds.items()})
        mates = {key: value[row : row + 1] for key, value in together.items()}
        _difference(f"{where}, row {row} alone", mates, alone, tolerance)


def _check_padding(
    where: str, feeds: Tensors, unpadded: Tensors, session: Any, export: GraphExport
) -> None:
    """At every length the server would pad this sample to."""
    for label, lengths in export.batching.pad.items():
        places = [
            (key, axis)
            for key, axes in export.axes.items()
            for axis, named in axes.items()
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
            got = _run(session, padded)
            _difference(f"{where}, {label} padded to {length}", unpadded, got, export.tolerance)


def _pad(array: Array, axis: int, length: int) -> Array:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - array.shape[axis])
    return np.pad(array, widths)


def _difference(where: str, expected: Tensors, got: Tensors, tolerance: float) -> float:
    worst = 0.0
    for key, want in expected.items():
        have = got[key]
        if have.shape != want.shape:
            raise ParityError(f"{where}: {key} has shape {have.shape}, torch's {want.shape}")
        gap = _gap(want, have)
        if not gap <= tolerance:
            raise ParityError(f"{where}: {key} is {gap:.2e} off; {tolerance:.0e} is allowed")
        worst = max(worst, gap)
    return worst


def _gap(want: Array, have: Array) -> float:
    """Largest difference; relative where values exceed 1; a step of one is free for pixels."""
    apart = np.abs(want.astype(np.float64) - have.astype(np.float64))
    if want.dtype == np.uint8:
        apart = np.maximum(apart - 1, 0)  # a half can round either way
    return float((apart / np.maximum(1.0, np.abs(want))).max(initial=0.0))


def _try_example(name: str, verb: Verb, session: Any, folder: Path) -> None:
    """The verb's own example must go in and come out as a caller's would."""
    for_input, for_answer = verb.read_parameters({})
    try:
        encoded = verb.input.encoder(folder)(verb.example, for_input)
        rows = _run(session, encoded.tensors)
        answer = verb.answer.answer(rows, encoded.context, for_answer)
        json.dumps(answer, allow_nan=False)
    except ItemError as error:
        raise ParityError(f"verb {name}: its example is refused: {error}") from None
    except (TypeError, ValueError) as error:
        raise ParityError(f"verb {name}: its example's answer is not JSON: {error}") from None
    if not answer:
        raise ParityError(f"verb {name}: its example has an empty answer")


def _run(session: Any, feeds: Tensors) -> Tensors:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
