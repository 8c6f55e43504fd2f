"""A plain ONNX graph in Triton's layout, ``<name>/<version>/model.onnx``: a manifest by inference.

Whatever is inferred is said in :attr:`Manifest.inferred`. Knows the graph and nothing beside it.
"""

import typing
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from model_store.answers.tensor import TensorAnswer
from model_store.errors import BadManifest, CorruptBundle
from model_store.inputs.tensor import TensorInput
from model_store.manifest import (
    ANY_SHAPE,
    MAIN_GRAPH,
    Batching,
    Draft,
    FileEntry,
    Graph,
    Manifest,
    Tensor,
    Verb,
)
from model_store.onnx_file import Signature, Value, read_signature
from model_store.spec import DType, TensorSpec

GRAPH_FILE = "model.onnx"
CONFIG_FILE = "config.pbtxt"
MAX_EXAMPLE_CELLS = 10_000
"""Beyond this an example helps nobody who reads it."""


def graph_file(folder: Path) -> str | None:
    """The graph's place in a version's folder: a file, or in a folder of that name."""
    places = (GRAPH_FILE, f"{GRAPH_FILE}/{GRAPH_FILE}")
    return next((place for place in places if (folder / place).is_file()), None)


def infer_manifest(folder: Path) -> Manifest:
    """All that the graph tells of itself. Raises CorruptBundle, BadManifest."""
    folder = folder.absolute()
    file = graph_file(folder)
    if file is None:
        raise CorruptBundle(f"{GRAPH_FILE} is missing")
    if not (folder / file).resolve().is_relative_to(folder.resolve()):
        raise CorruptBundle(f"{file} points outside its bundle")
    draft, notes, beside = infer_draft(folder / file, file)
    names = [file, *(str(PurePosixPath(file).parent / one) for one in beside)]
    try:
        return Manifest(
            **draft.model_dump(),
            name=folder.parent.name,
            version=int(folder.name) if folder.name.isdecimal() else 0,
            created=int((folder / file).stat().st_mtime),
            files={name: FileEntry(size_bytes=(folder / name).stat().st_size) for name in names},
            inferred=(*notes, *_config_note(folder)),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise BadManifest(f"{folder.parent.name}/{folder.name}: {path}: {first['msg']}") from None
    except OSError as error:
        raise CorruptBundle(f"{file} cannot be read: {error.strerror}") from None


def infer_draft(path: Path, file: str) -> tuple[Draft, list[str], list[str]]:
    """A graph that the bundle is to know as ``file`` → what it tells of itself, the sentences about
    what was inferred, and the files it leans on, as paths from its folder. Raises CorruptBundle.
    """
    signature = read_signature(path)
    graph, notes = _graph(file, signature)
    verb = _verb(graph)
    draft = Draft(
        family="other",
        category="other",
        task="inference",
        description="A plain ONNX graph. All that is known of it is what its file says.",
        license="unknown",
        graphs={MAIN_GRAPH: graph},
        verbs={"predict": verb},
        metrics={},
        evaluation="never evaluated here",
        parity={},
    )
    return draft, [*notes, _example_note(verb)], sorted(signature.external)


def _graph(file: str, signature: Signature) -> tuple[Graph, list[str]]:
    """The graph's tensors, whether it batches, and the words for both."""
    known = typing.get_args(DType)
    for value in signature.inputs:
        if value.dtype not in known:
            raise CorruptBundle(f"{file}: input {value.name} is {value.dtype}; expected a tensor")
        if value.shape is None:
            raise CorruptBundle(f"{file}: input {value.name} declares no shape")
    outputs = [value for value in signature.outputs if value.dtype in known]
    if not signature.inputs or not outputs:
        raise CorruptBundle(f"{file}: expected inputs and outputs that are tensors; got none")
    reason = _why_not(signature.inputs, outputs)
    notes = [
        f"Inputs and outputs are those of {file}: {_words(signature.inputs)} → {_words(outputs)}.",
        f"Each request runs alone, as it came: {reason}."
        if reason
        else "Rows of several requests share a run, up to 64: the first axis of every input and"
        " output is dynamic.",
    ]
    notes += [
        f"Output {value.name} is left out: it is {value.dtype}, which no client could read."
        for value in signature.outputs
        if value.dtype not in known
    ]
    batching = Batching(rows=False, reason=reason, max_rows=1) if reason else Batching()
    sides: list[Any] = [[tensor_of(v) for v in side] for side in (signature.inputs, outputs)]
    return Graph(file=file, inputs=sides[0], outputs=sides[1], batching=batching), notes


def _why_not(inputs: Iterable[Value], outputs: Iterable[Value]) -> str:
    """Why rows can't share a run, or the empty string."""
    sided = [(f"input {v.name}", v.shape) for v in inputs]
    sided += [(f"output {v.name}", v.shape) for v in outputs]
    for words, shape in sided:
        if shape is None:
            return f"{words} declares no shape"
        if not shape:
            return f"{words} is a scalar"
        if isinstance(shape[0], int):
            return f"{words} has a fixed first axis of {shape[0]}"
    rows = {shape[0] for _, shape in sided if shape}
    for words, shape in sided:
        for axis, label in enumerate(shape or ()):
            if axis and label in rows:
                return f"{words} has {label}, the rows, along axis {axis} too"
    return ""


def tensor_of(value: Value) -> Tensor:
    shape = (ANY_SHAPE,) if value.shape is None else value.shape
    return Tensor(name=value.name, dtype=value.dtype, shape=shape)


def _words(values: Iterable[Value]) -> str:
    shapes = {
        v.name: ANY_SHAPE if v.shape is None else ", ".join(map(str, v.shape)) for v in values
    }
    return ", ".join(f"{v.name} {v.dtype}[{shapes[v.name]}]" for v in values)


def _verb(graph: Graph) -> Verb:
    """Items and answers are the tensors themselves, without the row axis where there is one."""
    rows = graph.batching.rows
    given, made = (
        tuple(
            TensorSpec(name=t.name, dtype=t.dtype, shape=t.shape[1:] if rows else t.shape)
            for t in side
        )
        for side in (graph.inputs, graph.outputs)
    )
    taken = TensorInput(tensors=given, rows=rows)
    example = taken.zeros() if taken.cells <= MAX_EXAMPLE_CELLS else None
    return Verb(input=taken, answer=TensorAnswer(tensors=made, rows=rows), example=example)


def _example_note(verb: Verb) -> str:
    if verb.example is not None:
        return "The example is zeros; the sizes of dynamic axes in it are guesses."
    return f"The example would have more than {MAX_EXAMPLE_CELLS:,} numbers, so none is kept."


def _config_note(folder: Path) -> list[str]:
    if any((place / CONFIG_FILE).exists() for place in (folder, folder.parent)):
        return [f"{CONFIG_FILE} beside it was not read."]
    return []
