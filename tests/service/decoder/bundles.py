"""Decoders made by hand whose every word can be worked out on paper, in each form of cache.

They walk: each token moves the walker by a step that depends on the token and on its place, and
what comes next depends on where the walker stands. So a wrong place, a row that was mixed up, a
padded step that was counted or a past that was lost changes the text at once. :class:`Walk` is the
same in plain Python.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from model_store.answers.text import TextAnswer
from model_store.decoding import Decoding, Source
from model_store.inputs.text import TextInput
from model_store.manifest import Batching, Draft, Graph, Tensor, Verb
from model_store.spec import Array
from tests.service.by_hand import constant, draft_of

Form: TypeAlias = Literal["shared", "growing", "state"]
FORMS: tuple[Form, ...] = ("shared", "growing", "state")

END, START, VOID, POISON = 0, 1, 30, 31
"""After VOID the numbers for the next token are none; on POISON the graph itself fails."""
LETTERS = "·^abcdefghijklmnopqrstuvwxyzäö□☠"
SIZE = len(LETTERS)
PLACES = 97
HEAD = 8
"""The smallest head that GroupQueryAttention takes."""
CONTEXT = 256
PAD = (4, 8)
LIFT = 5
"""What the source's graph adds to each word, so that padding would be heard without its mask."""
TRAPS = {7: POISON, 11: VOID, 13: END}
"""Where the walker stands → what is then said, beyond doubt. Elsewhere it is hardly ever said."""
TAME = {13: END}
"""The same for those who search or draw, and would sooner or later walk into a trap."""


def table(traps: Mapping[int, int] = TRAPS) -> Array:
    """float32 ``[places, tokens]``: how likely each token is at each place."""
    found = np.random.default_rng(0).normal(size=(PLACES, SIZE)).astype(np.float32)
    found[:, [END, START, POISON, VOID]] = -30
    for place, token in traps.items():
        found[place, token] = 30
    return found


LIKELIEST = table().argmax(axis=1)


class Walked(NamedTuple):
    """What is said, and why no more of it: stop, length, poison or void."""

    tokens: list[int]
    reason: str

    @property
    def text(self) -> str:
        return "".join(LETTERS[token] for token in self.tokens)


def walk(prompt: Sequence[int], limit: int, source: Sequence[int] = ()) -> Walked:
    """The likeliest text, on paper."""
    place, said, last = place_of(prompt, source), list[int](), prompt[-1]
    while last not in (POISON, VOID):
        last = int(LIKELIEST[place])
        if last == END:
            return Walked(said, "stop")
        said.append(last)
        if len(said) == limit:
            return Walked(said, "length")
        place = (place + (len(prompt) + len(said)) * last) % PLACES
    return Walked(said, "poison" if last == POISON else "void")


def place_of(read: Sequence[int], source: Sequence[int] = ()) -> int:
    """Where the walker stands when it has read these."""
    moved = sum((place + 1) * token % PLACES for place, token in enumerate(read))
    heard = sum((place + 1) * (word + LIFT) for place, word in enumerate(source))
    return (moved + heard) % PLACES


def prompts(count: int, *, reason: str = "length", limit: int = 12, length: int = 3,
            seed: int = 0) -> list[list[int]]:  # fmt: skip
    """So many prompts, each of which ends in this way."""
    generator, found = np.random.default_rng(seed), list[list[int]]()
    while len(found) < count:
        prompt = generator.integers(2, VOID, length).tolist()
        walked = walk(prompt, limit)
        trapped = reason == "length" and walked.tokens[-1:] in ([POISON], [VOID])
        if walked.reason == reason and not trapped and prompt not in found:
            found.append(prompt)
    return found


# --- the graphs --------------------------------------------------------------------------------


def walker(
    folder: Path, form: Form, *, source: bool = False, context: int = CONTEXT,
    traps: Mapping[int, int] = TRAPS,
) -> Draft:  # fmt: skip
    """A bundle with the graph, a tokenizer of one letter a token, and a ``generate`` verb."""
    parts = {"shared": _shared, "growing": _growing, "state": _state}[form]()
    nodes, inputs, outputs, told = parts
    nodes, inputs = [*_steps(), *nodes, *_likely(form, source)], [_TOKENS, *inputs]
    if source:
        inputs += [
            Tensor(name="memory", dtype="float32", shape=("N", "S", 1)),
            Tensor(name="source_mask", dtype="int64", shape=("N", "S")),
        ]
    shape = ("N", SIZE) if form == "state" else ("N", "K" if form == "shared" else "T", SIZE)
    outputs = [Tensor(name="logits", dtype="float32", shape=shape), *outputs]
    decoding = Decoding(
        form=form, context=context, end=(END,), start=(START,) if source else (),
        source=Source(mask="source_mask") if source else None, **told,
    )  # fmt: skip
    graph = _save(folder, "model.onnx", nodes, inputs, outputs, traps=traps, decoding=decoding)
    _tokenizer().save(str(folder / "tokenizer.json"))
    graphs = {"model": graph} | ({"encoder": _encoder(folder)} if source else {})
    taken = TextInput(
        tokens="words" if source else "tokens", mask="source_mask" if source else None,
        max_tokens=PAD[-1] if source else None,
    )  # fmt: skip
    verb = Verb(input=taken, answer=TextAnswer(temperature=0, max_tokens=16), example="abc")
    return draft_of(
        graphs, {"generate": verb}, family="transformer", category="text", task="walking"
    )


shared = partial(walker, form="shared")
growing = partial(walker, form="growing")
state = partial(walker, form="state")

_TOKENS = Tensor(name="tokens", dtype="int64", shape=("N", "T"))
Parts: TypeAlias = tuple[list[onnx.NodeProto], list[Tensor], list[Tensor], dict[str, object]]
make = helper.make_node
to_float = partial(make, "Cast", to=TensorProto.FLOAT)
to_whole = partial(make, "Cast", to=TensorProto.INT64)


def _steps() -> list[onnx.NodeProto]:
    """``tokens``, ``places`` [N, T] → ``moves`` float [N, T]; ``length`` is T. Fails on POISON."""
    return [
        make("Gather", ["burden", "tokens"], ["weights"]),
        make("Shape", ["tokens"], ["length"], start=1, end=2),
        make("Squeeze", ["length"], ["scalar_length"]),
        make("Range", ["zero", "scalar_length", "one"], ["steps"]),
    ]


def _moves() -> list[onnx.NodeProto]:
    return [
        make("Add", ["places", "one"], ["ordinals"]),
        make("Mul", ["ordinals", "tokens"], ["far"]),
        make("Mod", ["far", "all_places"], ["near"]),
        to_float(["near"], ["moves"]),
    ]


def _likely(form: Form, source: bool) -> list[onnx.NodeProto]:
    """``sums`` float [N, T] → ``logits`` of the places that the form gives."""
    nodes = [make("Round", ["sums"], ["rounded"]), to_whole(["rounded"], ["moved"])]
    if source:
        nodes += [
            make("Squeeze", ["memory", "last"], ["heard"]),
            to_whole(["heard"], ["heard_whole"]),
            make("Mul", ["heard_whole", "source_mask"], ["real"]),
            make("CumSum", ["source_mask", "one"], ["source_places"]),
            make("Mul", ["real", "source_places"], ["each"]),
            make("ReduceSum", ["each", "first_axis"], ["whole"], keepdims=1),
            make("Add", ["moved", "whole"], ["moved_all"]),
        ]
    nodes += [
        make("Mod", ["moved_all" if source else "moved", "all_places"], ["stands"]),
        make("Gather", ["table", "stands"], ["likely"]),
        make("Unsqueeze", ["weights", "last"], ["column"]),
        make("Add", ["likely", "column"], ["all_logits"]),
    ]
    if form == "growing":
        return [*nodes, make("Identity", ["all_logits"], ["logits"])]
    if form == "state":
        return [*nodes, make("Gather", ["all_logits", "minus_one"], ["logits"], axis=1)]
    return [
        *nodes,
        make("Unsqueeze", ["wanted", "last"], ["wanted_column"]),
        make("Shape", ["wanted"], ["wanted_shape"]),
        make("Concat", ["wanted_shape", "size_list"], ["wanted_all"], axis=0),
        make("Expand", ["wanted_column", "wanted_all"], ["wanted_places"]),
        make("GatherElements", ["all_logits", "wanted_places"], ["logits"], axis=1),
    ]


def _state() -> Parts:
    shape = ("N", 1)
    pairs = [("total", "float32"), ("count", "int64")]
    nodes = [
        make("Add", ["count", "steps"], ["places"]),
        *_moves(),
        make("CumSum", ["moves", "one"], ["new"]),
        make("Add", ["total", "new"], ["sums"]),
        make("ReduceSum", ["moves", "first_axis"], ["gone"], keepdims=1),
        make("Add", ["total", "gone"], ["next_total"]),
        make("Add", ["count", "length"], ["next_count"]),
    ]
    return (
        nodes,
        [Tensor(name=name, dtype=dtype, shape=shape) for name, dtype in pairs],
        [Tensor(name=f"next_{name}", dtype=dtype, shape=shape) for name, dtype in pairs],
        {"cache": {name: f"next_{name}" for name, _ in pairs}},
    )


def _growing() -> Parts:
    nodes = [
        make("Identity", ["positions"], ["places"]),
        *_moves(),
        make("Unsqueeze", ["moves", "heads_and_size"], ["new"]),
        make("Concat", ["past", "new"], ["present"], axis=2),
        make("Squeeze", ["present", "heads_and_size"], ["every"]),
        to_float(["mask"], ["real_places"]),
        make("Mul", ["every", "real_places"], ["kept"]),
        make("CumSum", ["kept", "one"], ["all_sums"]),
        make("Shape", ["past"], ["past_length"], start=2, end=3),
        make("Slice", ["all_sums", "past_length", "huge", "first_axis"], ["sums"]),
    ]
    inputs = [
        Tensor(name="mask", dtype="int64", shape=("N", "P+T")),
        Tensor(name="positions", dtype="int64", shape=("N", "T")),
        Tensor(name="past", dtype="float32", shape=("N", 1, "P", 1)),
    ]
    outputs = [Tensor(name="present", dtype="float32", shape=("N", 1, "P+T", 1))]
    names = {"mask": "mask", "positions": "positions"}
    return nodes, inputs, outputs, {"cache": {"past": "present"}, **names}


def _shared() -> Parts:
    """Queries and keys are zeros, so attention is the mean of all values up to a place."""
    nodes = [
        to_whole(["lengths"], ["old_and_new"]),
        make("Sub", ["old_and_new", "scalar_length"], ["before"]),
        make("Add", ["before", "one"], ["first_place"]),
        make("Unsqueeze", ["first_place", "first_axis"], ["first_column"]),
        make("Add", ["first_column", "steps"], ["places"]),
        *_moves(),
        make("Unsqueeze", ["moves", "last"], ["move_column"]),
        make("Mul", ["move_column", "one_hot"], ["values"]),
        make("Mul", ["values", "nothing"], ["zeros"]),
        make("ReduceMax", ["lengths"], ["longest"], keepdims=0),
        make("Add", ["longest", "one_int32"], ["longest_all"]),
        make("GroupQueryAttention",
             ["zeros", "zeros", "values", "past_key", "past_value", "lengths", "longest_all"],
             ["means", "key", "value"], domain="com.microsoft", num_heads=1, kv_num_heads=1),
        make("Gather", ["means", "zero"], ["mean"], axis=2),
        to_float(["ordinals"], ["counts"]),
        make("Mul", ["mean", "counts"], ["sums"]),
    ]  # fmt: skip
    shape = ("N", 1, "L", HEAD)
    inputs = [
        Tensor(name="lengths", dtype="int32", shape=("N",)),
        Tensor(name="wanted", dtype="int64", shape=("N", "K")),
        Tensor(name="past_key", dtype="float32", shape=shape),
        Tensor(name="past_value", dtype="float32", shape=shape),
    ]
    outputs = [Tensor(name=name, dtype="float32", shape=shape) for name in ("key", "value")]
    cache = {"past_key": "key", "past_value": "value"}
    return nodes, inputs, outputs, {"cache": cache, "lengths": "lengths", "wanted": "wanted"}


def _encoder(folder: Path) -> Graph:
    """``words`` → ``memory``, each of them lifted; and their number, which no decoder takes."""
    nodes = [
        make("Add", ["words", "lift"], ["lifted"]),
        to_float(["lifted"], ["floats"]),
        make("Unsqueeze", ["floats", "last"], ["memory"]),
        to_float(["source_mask"], ["real"]),
        make("ReduceSum", ["real", "first_axis"], ["loudness"], keepdims=1),
    ]
    pair = [Tensor(name=name, dtype="int64", shape=("N", "S")) for name in ("words", "source_mask")]
    outputs = [
        Tensor(name="memory", dtype="float32", shape=("N", "S", 1)),
        Tensor(name="loudness", dtype="float32", shape=("N", 1)),
    ]
    return _save(
        folder, "encoder.onnx", nodes, pair, outputs, batching=Batching(max_rows=8, pad={"S": PAD})
    )


def _constants(traps: Mapping[int, int]) -> list[onnx.TensorProto]:
    burden = np.zeros(POISON, np.float32)
    burden[VOID] = np.nan
    whole = {
        "zero": 0, "one": 1, "minus_one": -1, "all_places": PLACES, "size_list": [SIZE],
        "lift": LIFT,
        "first_axis": [1], "last": [-1], "heads_and_size": [1, 3], "huge": [2**40],
    }  # fmt: skip
    return [
        constant("table", table(traps)),
        constant("burden", burden),
        constant("one_hot", np.eye(HEAD)[0]),
        constant("nothing", 0),
        constant("one_int32", 1, "int32"),
        *(constant(name, value, "int64") for name, value in whole.items()),
    ]


ELEMENTS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}


def _save(
    folder: Path, file: str, nodes: list[onnx.NodeProto], inputs: list[Tensor],
    outputs: list[Tensor], *, decoding: Decoding | None = None, batching: Batching | None = None,
    traps: Mapping[int, int] = TRAPS,
) -> Graph:  # fmt: skip
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "graph", _infos(inputs), _infos(outputs),
        [tensor for tensor in _constants(traps) if tensor.name in used],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / file))
    return Graph(
        file=file, inputs=tuple(inputs), outputs=tuple(outputs), decoding=decoding,
        batching=batching or Batching(),
    )  # fmt: skip


def _infos(tensors: list[Tensor]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(tensor.name, ELEMENTS[tensor.dtype], list(tensor.shape))
        for tensor in tensors
    ]


def _tokenizer() -> Tokenizer:
    vocabulary = {letter: place for place, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(LETTERS[END], special=True)])
    return tokenizer
