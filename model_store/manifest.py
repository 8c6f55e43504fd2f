"""The manifest: everything a server must know of a bundle, and everything a person may ask of it.

Its heart is the verb table: verb → graph, input kind, answer kind. ``Draft`` is what a training run
knows; ``Manifest`` is a draft that has been published and so has a version and the files' hashes.
A plain graph's manifest was never written: ``model_store.plain`` infers it, and it says so.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, JsonValue, ValidationError, model_validator

from model_store.answers import AnswerSpec
from model_store.decoding import Decoding
from model_store.errors import BadManifest, ItemMismatch
from model_store.inputs import InputSpec
from model_store.inputs.tensor import TensorInput
from model_store.spec import Parameters, Spec, TensorSpec, read_parameters, show_names

Family = Literal["cnn", "rnn", "transformer", "gan", "autoencoder", "classical", "other"]
Category = Literal["vision", "text", "audio", "series", "tabular", "control", "other"]
VerbName = Literal["predict", "generate", "score", "embed"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
MAIN_GRAPH = "model"
EXPLAIN = "explain"
"""What any model can be asked to do whose answers are numbers; no bundle has a graph for it."""


class Tensor(TensorSpec):
    """A graph's input or output. Where the graph batches, axis 0 is the row; where it does not, the
    shape may be empty (a scalar) or the single axis :data:`ANY_SHAPE`.
    """


ANY_SHAPE = "..."
"""Stands for all the axes of an output whose rank the graph does not declare."""


class Batching(Spec):
    """Whether rows may share a run. ``pad`` maps a dynamic axis to the lengths it is padded to;
    only for graphs that take a mask, which is padded with zeros like everything else.

    Without ``rows`` the graph has no row axis: every request runs alone, as it came, and ``reason``
    says why.
    """

    rows: bool = True
    reason: str = ""
    max_rows: int = Field(default=64, ge=1)
    pad: dict[str, tuple[int, ...]] = Field(default={})


class Graph(Spec):
    """One ONNX file of the bundle."""

    file: str
    inputs: tuple[Tensor, ...] = Field(min_length=1)
    outputs: tuple[Tensor, ...] = Field(min_length=1)
    batching: Batching = Batching()
    decoding: Decoding | None = Field(default=None, description="how it is run token by token")

    @model_validator(mode="after")
    def _decoding_is_possible(self) -> Self:
        if self.decoding:
            self.decoding.check(self.inputs, self.outputs)
        return self

    @model_validator(mode="after")
    def _rows_have_an_axis(self) -> Self:
        for tensor in (*self.inputs, *self.outputs):
            if self.batching.rows and not tensor.shape:
                raise ValueError(f"tensor {tensor.name} is a scalar, so rows cannot share a run")
        return self


class Verb(Spec):
    """What a caller can ask for: the graph that does it, what goes in and what comes out.
    ``example`` is an item that works; docs show it and warm-up runs it. None where it would be too
    large to show: :meth:`sample` makes one.
    """

    graph: str = MAIN_GRAPH
    input: InputSpec
    answer: AnswerSpec
    example: JsonValue = None

    @model_validator(mode="after")
    def _example_is_there(self) -> Self:
        if self.example is None and not isinstance(self.input, TensorInput):
            raise ValueError(f"an input of kind {self.input.kind} needs an example")
        return self

    def sample(self) -> JsonValue:
        """The example, made now where none is kept."""
        if self.example is None and isinstance(self.input, TensorInput):
            return self.input.zeros()
        return self.example

    def read_parameters(
        self, raw: Mapping[str, object], instead: type[Parameters] | None = None
    ) -> tuple[Any, Any]:
        """A request's parameters, split into the input's and the answer's own class and checked.
        ``instead`` stands for the answer's where another answer is made. Raises ItemMismatch.
        """
        for_input, for_answer = self.input.parameters, instead or self.answer.parameters
        known = {*for_input.model_fields, *for_answer.model_fields}
        unknown = sorted(set(raw) - known)
        if unknown:
            allowed = f"one of {sorted(known)}" if known else "no parameters"
            raise ItemMismatch(f"expected {allowed}; got {show_names(unknown)}", field="parameters")
        parts = [
            {key: value for key, value in raw.items() if key in kind.model_fields}
            for kind in (for_input, for_answer)
        ]
        return (
            read_parameters(for_input, parts[0], "parameters"),
            read_parameters(for_answer, parts[1], "parameters"),
        )


class Parity(Spec):
    """How close ONNX Runtime came to torch when the bundle was verified."""

    rows: tuple[int, ...]
    max_difference: float
    tolerance: float


class Provenance(Spec):
    """Where the model comes from: enough to make it again and to know whether one may use it."""

    recipe: str
    profile: str
    config: dict[str, JsonValue]
    seed: int
    data: str
    data_license: str
    weights: str = "from scratch"
    weights_license: str = ""
    start: str = Field(default="", description="the earlier version that training started from")
    train_seconds: float
    peak_memory_bytes: int = Field(
        default=0, ge=0, description="the training process's, resident; 0: not measured"
    )
    packages: dict[str, str]

    @property
    def order(self) -> str:
        """The recipe and the flags it was made with, but for settings of its own."""
        start = f" --from {self.start}" if self.start else ""
        return f"{self.recipe} --profile {self.profile} --seed {self.seed}{start}"


class FileEntry(Spec):
    """A file of the bundle, as it was when published. Of a file that never was, nobody recorded a
    digest, so there is nothing to compare with.
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size_bytes: int = Field(ge=0)


class Draft(Spec):
    """A manifest before it is published."""

    family: Family
    category: Category
    task: str
    description: str
    license: str
    graphs: dict[str, Graph] = Field(min_length=1)
    verbs: dict[VerbName, Verb] = Field(min_length=1)
    metrics: dict[str, FiniteFloat]
    baselines: dict[str, dict[str, FiniteFloat]] = Field(default={})
    evaluation: str
    parity: dict[str, Parity]
    provenance: Provenance | None = Field(default=None, description="None: it was not made here")
    source: str = Field(default="", description="where it was brought from, if made elsewhere")

    @model_validator(mode="after")
    def _verbs_point_at_graphs(self) -> Self:
        for name, verb in self.verbs.items():
            if verb.graph not in self.graphs:
                raise ValueError(f"verb {name} points at graph {verb.graph!r}, which is not there")
        return self


class Manifest(Draft):
    """A bundle's manifest. ``inferred`` says in sentences what was inferred and from what; of a
    published bundle, nothing was.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: int = Field(ge=1)
    created: int = Field(description="Unix seconds")
    files: dict[str, FileEntry]
    inferred: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _files_stay_inside(self) -> Self:
        for file in self.files:
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts or "\\" in file:
                raise ValueError(f"file {file!r} lies outside the bundle")
            if self.files[file].sha256 is None and not self.inferred:
                raise ValueError(f"file {file!r} has no sha256")
        for name, graph in self.graphs.items():
            if graph.file not in self.files:
                raise ValueError(f"graph {name} names {graph.file!r}, which is not among the files")
        return self

    @property
    def main_verb(self) -> tuple[VerbName, Verb]:
        """The verb a reader thinks of first: predict before generate before score before embed."""
        order: tuple[VerbName, ...] = ("predict", "generate", "score", "embed")
        return next((name, self.verbs[name]) for name in order if name in self.verbs)

    @property
    def explained(self) -> VerbName | None:
        """The verb whose answers can be explained: it takes items that come apart and gives numbers
        row by row.
        """
        asked: tuple[VerbName, ...] = ("predict", "score")
        return next((name for name in asked if self._explains(name)), None)

    def _explains(self, name: VerbName) -> bool:
        verb = self.verbs.get(name)
        if verb is None or not verb.input.divisible or not verb.answer.targets:
            return False
        graph = self.graphs[verb.graph]
        return graph.batching.rows and graph.decoding is None

    @property
    def abilities(self) -> list[str]:
        """What can be asked of it: the verbs of its table, and to explain them."""
        return [*self.verbs, *([EXPLAIN] if self.explained else [])]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files.values())

    def to_json(self) -> bytes:
        """The file's text. ``digest`` covers all the rest, so a changed byte is seen here too."""
        return _sealed(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Raises BadManifest."""
        try:
            body: dict[str, Any] = json.loads(text)
            body.pop("digest")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise BadManifest(f"manifest.json is not a manifest: {error!r}") from None
        if body.get("schema_version") != 1:
            raise BadManifest(
                f"manifest.json has schema_version {body.get('schema_version')!r};"
                " this modelhub reads 1"
            )
        if text != _sealed(body):
            raise BadManifest("manifest.json was changed after it was published (digest differs)")
        try:
            manifest = cls.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise BadManifest(f"manifest.json: {path}: {first['msg']}") from None
        if manifest.inferred:
            # Such a manifest is never written; a written one that says so would escape its digests.
            raise BadManifest("manifest.json: inferred: expected nothing in a published bundle")
        return manifest


def _sealed(body: Mapping[str, Any]) -> bytes:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(canonical).hexdigest()
    return json.dumps({**body, "digest": digest}, indent=1).encode()
