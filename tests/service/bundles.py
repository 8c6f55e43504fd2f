"""Tiny real bundles: graphs made by hand, one for each thing a test wants to see.

Each graph's answer can be worked out on paper, so a test knows what is right without running it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from model_store.answers.action import ActionAnswer
from model_store.answers.anomaly import AnomalyAnswer
from model_store.answers.boxes import BoxesAnswer
from model_store.answers.classes import ClassesAnswer
from model_store.answers.forecast import ForecastAnswer
from model_store.answers.image import ImageAnswer
from model_store.answers.mask import MaskAnswer
from model_store.answers.text import TextAnswer
from model_store.answers.transcript import TranscriptAnswer
from model_store.answers.vector import VectorAnswer
from model_store.decoding import Decoding
from model_store.inputs.audio import AudioInput
from model_store.inputs.image import ImageInput
from model_store.inputs.none import Attribute, NoneInput
from model_store.inputs.series import SeriesInput
from model_store.inputs.table import Column, TableInput
from model_store.inputs.text import TextInput
from model_store.manifest import Batching, Draft, Graph, Manifest, Provenance, Tensor, Verb
from model_store.store import Store

Shape: TypeAlias = tuple[int | str, ...]
ELEMENTS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}

PAD = (4, 8)
"""Lengths the text graph is padded to."""
WORDS = ("[UNK]", "good", "bad", "fine", "poor")
RECITED = ("[UNK]", "one", "two", "three", "four", "[END]")
WEIGHTS = (9.0, 2.0, -2.0, 1.0, -1.0)
"""What each word adds. The first is what padding would add, were it not masked."""


def _value(name: str, dtype: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENTS[dtype], list(shape))


def constant(name: str, value: Any, dtype: str = "float32") -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype=dtype), name)


def save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    constants: list[onnx.TensorProto],
    *,
    file: str = "model.onnx",
    batching: Batching | None = None,
) -> Graph:
    graph = helper.make_graph(
        nodes,
        "graph",
        [_value(t.name, t.dtype, t.shape) for t in inputs],
        [_value(t.name, t.dtype, t.shape) for t in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(folder / file))
    return Graph(file=file, inputs=inputs, outputs=outputs, batching=batching or Batching())


def _save_tokenizer(folder: Path, words: tuple[str, ...]) -> None:
    """One that knows these words; the first stands for all others."""
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def draft_of(graphs: Mapping[str, Graph], verbs: Mapping[Any, Verb], **facts: Any) -> Draft:
    return Draft(
        **{
            "family": "other",
            "category": "other",
            "description": "Made by hand for a test.",
            "license": "Apache-2.0",
            "metrics": {"accuracy": 0.75},
            "baselines": {"guess": {"accuracy": 0.5}},
            "evaluation": "by hand",
            **facts,
        },
        graphs=dict(graphs),
        verbs=dict(verbs),
        parity={},
        provenance=Provenance(
            recipe="by_hand",
            profile="quick",
            config={},
            seed=0,
            data="none",
            data_license="CC0-1.0",
            train_seconds=0.0,
            packages={},
        ),
    )


def shades(folder: Path) -> Draft:
    """Image → how bright it is: dark or bright, with the mean / 255 as bright's score."""
    inputs = (Tensor(name="image", dtype="uint8", shape=("N", 1, 4, 4)),)
    outputs = (
        Tensor(name="probabilities", dtype="float32", shape=("N", 2)),
        Tensor(name="embedding", dtype="float32", shape=("N", 16)),
    )
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("Div", ["flat", "white"], ["embedding"]),
        helper.make_node("ReduceMean", ["embedding", "axes"], ["bright"], keepdims=1),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["probabilities"], axis=1),
    ]
    constants = [constant("white", 255), constant("one", 1), constant("axes", [1], "int64")]
    graph = save(folder, nodes, inputs, outputs, constants)
    image = ImageInput(height=4, width=4, channels=1)
    example = [[255] * 4] * 4
    (folder / "card.md").write_text("# Shades\n\nDark or bright.\n", encoding="utf-8")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "curve.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8))
    return draft_of(
        {"model": graph},
        {
            "predict": Verb(
                input=image, answer=ClassesAnswer(labels=("dark", "bright")), example=example
            ),
            "embed": Verb(input=image, answer=VectorAnswer(size=16), example=example),
        },
        family="cnn",
        category="vision",
        task="shade",
        description="Says whether a picture is dark or bright.",
    )


def sensor(folder: Path, *, adds: float = 0) -> Draft:
    """Table → |a| + |b| + ``adds``, an anomaly above 1. A ``code`` of 10 or more passes every check
    and then makes the graph itself fail: the poison row.
    """
    inputs = (Tensor(name="table", dtype="float32", shape=("N", 3)),)
    outputs = (
        Tensor(name="score", dtype="float32", shape=("N",)),
        Tensor(name="contributions", dtype="float32", shape=("N", 3)),
    )
    nodes = [
        helper.make_node("Gather", ["table", "third"], ["code"], axis=1),
        helper.make_node("Cast", ["code"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["ones", "place"], ["one"], axis=0),
        helper.make_node("Unsqueeze", ["one", "axes"], ["column"]),
        helper.make_node("Abs", ["table"], ["sizes"]),
        helper.make_node("Mul", ["sizes", "first_two"], ["parts"]),
        helper.make_node("Mul", ["parts", "column"], ["contributions"]),
        helper.make_node("ReduceSum", ["contributions", "axes"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "adds"], ["score"]),
    ]
    constants = [
        constant("third", 2, "int64"),
        constant("ones", np.ones(10)),
        constant("axes", [1], "int64"),
        constant("first_two", [1, 1, 0]),
        constant("adds", adds),
    ]
    graph = save(folder, nodes, inputs, outputs, constants)
    table = TableInput(columns=tuple(Column(name=name) for name in ("a", "b", "code")))
    answer = AnomalyAnswer(features=("a", "b", "code"), threshold=1.0, false_alarm_rate=0.01)
    example = {"a": 0.25, "b": -0.5, "code": 0}
    return draft_of(
        {"model": graph},
        {"score": Verb(input=table, answer=answer, example=example)},
        family="autoencoder",
        category="tabular",
        task="telemetry",
        description="Finds readings that are out of the ordinary.",
    )


def words(folder: Path) -> Draft:
    """Text → the sigmoid of the mean of its words' weights, padded with a mask to 4 or 8 tokens."""
    inputs = (
        Tensor(name="tokens", dtype="int64", shape=("N", "T")),
        Tensor(name="mask", dtype="int64", shape=("N", "T")),
    )
    outputs = (Tensor(name="probabilities", dtype="float32", shape=("N", 2)),)
    nodes = [
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["weights", "tokens"], ["each"]),
        helper.make_node("Mul", ["each", "real"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axes"], ["total"], keepdims=1),
        helper.make_node("ReduceSum", ["real", "axes"], ["length"], keepdims=1),
        helper.make_node("Div", ["total", "length"], ["mean"]),
        helper.make_node("Sigmoid", ["mean"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
    ]
    constants = [
        constant("weights", WEIGHTS),
        constant("axes", [1], "int64"),
        constant("one", 1),
    ]
    graph = save(
        folder, nodes, inputs, outputs, constants, batching=Batching(max_rows=8, pad={"T": PAD})
    )
    _save_tokenizer(folder, WORDS)
    verb = Verb(
        input=TextInput(max_tokens=8),
        answer=ClassesAnswer(labels=("negative", "positive")),
        example="good fine",
    )
    return draft_of(
        {"model": graph},
        {"predict": verb},
        family="transformer",
        category="text",
        task="sentiment",
        description="Says whether words are kind.",
    )


def tones(folder: Path) -> Draft:
    """Audio → at each block of a tenth of a second how loud it is: below 0.25 nothing, around 0.5
    low, around 1 high; padded with a mask to 5 or 20 blocks.
    """
    inputs = (
        Tensor(name="audio", dtype="float32", shape=("N", "T", 800)),
        Tensor(name="mask", dtype="float32", shape=("N", "T")),
    )
    outputs = (Tensor(name="log_probabilities", dtype="float32", shape=("N", "T", 3)),)
    nodes = [
        helper.make_node("Abs", ["audio"], ["sizes"]),
        helper.make_node("ReduceMax", ["sizes", "last"], ["peaks"], keepdims=1),
        helper.make_node("Sub", ["peaks", "levels"], ["apart"]),
        helper.make_node("Abs", ["apart"], ["distances"]),
        helper.make_node("Mul", ["distances", "sure"], ["scores"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["real"]),
        helper.make_node("Mul", ["scores", "real"], ["masked"]),
        helper.make_node("LogSoftmax", ["masked"], ["log_probabilities"], axis=2),
    ]
    constants = [
        constant("last", [2], "int64"),
        constant("levels", [0, 0.5, 1]),
        constant("sure", -20),
    ]
    batching = Batching(max_rows=8, pad={"T": (5, 20)})
    graph = save(folder, nodes, inputs, outputs, constants, batching=batching)
    verb = Verb(
        input=AudioInput(sample_rate=8_000, block=800, max_seconds=2),
        answer=TranscriptAnswer(tokens=("low", "high"), step_seconds=0.1, language="en"),
        example={"samples": [0.5] * 20, "sample_rate": 1_000},
    )
    return draft_of(
        {"model": graph},
        {"predict": verb},
        family="rnn",
        category="audio",
        task="loudness",
        description="Says how loud it is.",
    )


def tide(folder: Path) -> Draft:
    """Series → its last step again, three times over, one less and one more as the bounds."""
    inputs = (Tensor(name="series", dtype="float32", shape=("N", 4, 2)),)
    outputs = tuple(
        Tensor(name=name, dtype="float32", shape=("N", 3, 2))
        for name in ("values", "lower", "upper")
    )
    nodes = [
        helper.make_node("Slice", ["series", "start", "end", "axis"], ["last"]),
        helper.make_node("Tile", ["last", "repeats"], ["values"]),
        helper.make_node("Sub", ["values", "one"], ["lower"]),
        helper.make_node("Add", ["values", "one"], ["upper"]),
    ]
    constants = [
        constant("start", [3], "int64"),
        constant("end", [4], "int64"),
        constant("axis", [1], "int64"),
        constant("repeats", [1, 3, 1], "int64"),
        constant("one", 1),
    ]
    graph = save(folder, nodes, inputs, outputs, constants)
    verb = Verb(
        input=SeriesInput(columns=("height", "speed"), length=4, max_steps=100_000),
        answer=ForecastAnswer(columns=("height", "speed"), horizon=3),
        example=[[1, 10], [2, 20], [3, 30], [4, 40]],
    )
    return draft_of(
        {"model": graph},
        {"predict": verb},
        family="rnn",
        category="series",
        task="forecast",
        description="Says that tomorrow will be like today.",
    )


def stamps(folder: Path) -> Draft:
    """Nothing → a 2×4 picture of the noise; labels ``a`` and ``b`` are 0 and 100 brighter."""
    inputs = (
        Tensor(name="noise", dtype="float32", shape=("N", 8)),
        Tensor(name="label", dtype="int64", shape=("N",)),
    )
    outputs = (Tensor(name="image", dtype="uint8", shape=("N", 1, 2, 4)),)
    nodes = [
        helper.make_node("Mul", ["noise", "twenty"], ["spread"]),
        helper.make_node("Add", ["spread", "grey"], ["greys"]),
        helper.make_node("Gather", ["lift", "label"], ["lifts"]),
        helper.make_node("Unsqueeze", ["lifts", "axes"], ["column"]),
        helper.make_node("Add", ["greys", "column"], ["lifted"]),
        helper.make_node("Clip", ["lifted", "black", "white"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "shape"], ["floats"]),
        helper.make_node("Cast", ["floats"], ["image"], to=TensorProto.UINT8),
    ]
    constants = [
        constant("twenty", 20),
        constant("grey", 80),
        constant("lift", [0, 100]),
        constant("axes", [1], "int64"),
        constant("black", 0),
        constant("white", 255),
        constant("shape", [-1, 1, 2, 4], "int64"),
    ]
    graph = save(folder, nodes, inputs, outputs, constants)
    verb = Verb(
        input=NoneInput(noise_size=8, labels=("a", "b")),
        answer=ImageAnswer(),
        example={"label": "a", "seed": 7},
    )
    return draft_of(
        {"model": graph},
        {"generate": verb},
        family="gan",
        category="vision",
        task="stamps",
        description="Draws stamps that never were.",
    )


def inks(folder: Path) -> Draft:
    """Nothing → a 1×1 picture of the asked ``ink``, in the asked ``tone``; the noise adds to it."""
    inputs = (
        Tensor(name="noise", dtype="float32", shape=("N", 3)),
        Tensor(name="attributes", dtype="int64", shape=("N", 2)),
    )
    outputs = (Tensor(name="image", dtype="uint8", shape=("N", 3, 1, 1)),)
    nodes = [
        helper.make_node("Gather", ["attributes", "first"], ["ink"], axis=1),
        helper.make_node("Gather", ["attributes", "second"], ["tone"], axis=1),
        helper.make_node("Gather", ["inks", "ink"], ["colours"]),
        helper.make_node("Gather", ["tones", "tone"], ["tones_of_rows"]),
        helper.make_node("Unsqueeze", ["tones_of_rows", "axes"], ["column"]),
        helper.make_node("Mul", ["colours", "column"], ["mixed"]),
        helper.make_node("Add", ["mixed", "noise"], ["blurred"]),
        helper.make_node("Clip", ["blurred", "black", "white"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "shape"], ["floats"]),
        helper.make_node("Cast", ["floats"], ["image"], to=TensorProto.UINT8),
    ]
    constants = [
        constant("first", 0, "int64"),
        constant("second", 1, "int64"),
        constant("inks", [[1, 0, 0], [0, 0, 1]]),
        constant("tones", [100, 200]),
        constant("axes", [1], "int64"),
        constant("black", 0),
        constant("white", 255),
        constant("shape", [-1, 3, 1, 1], "int64"),
    ]
    graph = save(folder, nodes, inputs, outputs, constants)
    asked = (
        Attribute(name="ink", values=("red", "blue")),
        Attribute(name="tone", values=("dark", "bright")),
    )
    verb = Verb(
        input=NoneInput(noise_size=3, attributes=asked),
        answer=ImageAnswer(),
        example={"ink": "blue", "seed": 7},
    )
    return draft_of(
        {"model": graph},
        {"generate": verb},
        family="gan",
        category="vision",
        task="inks",
        description="Draws a drop of ink.",
    )


def codec(folder: Path) -> Draft:
    """Two graphs: table → its double (``embed``), and noise → picture (``generate``)."""
    stamped = stamps(folder)
    (folder / "model.onnx").rename(folder / "decoder.onnx")
    decoder = stamped.graphs["model"].model_copy(update={"file": "decoder.onnx"})
    encoder = save(
        folder,
        [helper.make_node("Add", ["table", "table"], ["embedding"])],
        (Tensor(name="table", dtype="float32", shape=("N", 2)),),
        (Tensor(name="embedding", dtype="float32", shape=("N", 2)),),
        [],
        file="encoder.onnx",
    )
    columns = (Column(name="x"), Column(name="y"))
    return draft_of(
        {"model": encoder, "decoder": decoder},
        {
            "embed": Verb(
                input=TableInput(columns=columns), answer=VectorAnswer(size=2), example=[1, 2]
            ),
            "generate": stamped.verbs["generate"].model_copy(update={"graph": "decoder"}),
        },
        family="autoencoder",
        category="vision",
        task="codec",
    )


def reciter(folder: Path) -> Draft:
    """Text → the words that come next in one, two, three, four, and then the end. Its state is how
    many words it has read and said.
    """
    inputs = (
        Tensor(name="tokens", dtype="int64", shape=("N", "T")),
        Tensor(name="wanted", dtype="int64", shape=("N", "K")),
        Tensor(name="past", dtype="float32", shape=("N", 1)),
    )
    outputs = (
        Tensor(name="logits", dtype="float32", shape=("N", "K", len(RECITED))),
        Tensor(name="present", dtype="float32", shape=("N", 1)),
    )
    nodes = [
        helper.make_node("GatherElements", ["tokens", "wanted"], ["last"], axis=1),
        helper.make_node("Gather", ["next", "last"], ["token"]),
        helper.make_node("OneHot", ["token", "depth", "sure"], ["logits"]),
        helper.make_node("Shape", ["tokens"], ["length"], start=1, end=2),
        helper.make_node("Cast", ["length"], ["read"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["past", "read"], ["present"]),
    ]
    end = len(RECITED) - 1
    constants = [
        constant("next", [1, 2, 3, 4, end, end], "int64"),
        constant("depth", end + 1, "int64"),
        constant("sure", [0, 20]),
    ]
    graph = save(folder, nodes, inputs, outputs, constants)
    decoding = Decoding(
        form="state", cache={"past": "present"}, wanted="wanted", context=32, end=(end,)
    )
    _save_tokenizer(folder, RECITED)
    verb = Verb(input=TextInput(mask=None), answer=TextAnswer(temperature=0), example="one two")
    return draft_of(
        {"model": graph.model_copy(update={"decoding": decoding})},
        {"generate": verb},
        family="rnn",
        category="text",
        task="text-generation",
        description="Counts to four.",
    )


def snail(folder: Path) -> Draft:
    """Table → its own ``value`` as the score, after ``rounds`` slow turns of a loop: about a
    millisecond each, so a test can have a run that lasts as long as it needs.
    """
    inputs = (Tensor(name="table", dtype="float32", shape=("N", 2)),)
    outputs = (
        Tensor(name="score", dtype="float32", shape=("N",)),
        Tensor(name="contributions", dtype="float32", shape=("N", 2)),
    )
    size = 192
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "turn"], ["after"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turns", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [size, size]),
        ],
    )
    nodes = [
        helper.make_node("Gather", ["table", "first"], ["rounds"], axis=1),
        helper.make_node("ReduceMax", ["rounds"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["trips"], to=TensorProto.INT64),
        helper.make_node("Loop", ["trips", "", "turn"], ["end"], body=body),
        helper.make_node("ReduceMax", ["end"], ["bit"], keepdims=0),
        helper.make_node("Mul", ["bit", "zero"], ["nothing"]),
        helper.make_node("Gather", ["table", "second"], ["value"], axis=1),
        helper.make_node("Add", ["value", "nothing"], ["score"]),
        helper.make_node("Abs", ["table"], ["contributions"]),
    ]
    constants = [
        constant("first", 0, "int64"),
        constant("second", 1, "int64"),
        constant("zero", 0),
        constant("turn", np.eye(size)),
    ]
    graph = save(folder, nodes, inputs, outputs, constants, batching=Batching(max_rows=4))
    verb = Verb(
        input=TableInput(columns=(Column(name="rounds"), Column(name="value"))),
        answer=AnomalyAnswer(features=("rounds", "value"), threshold=0.0, false_alarm_rate=0.5),
        example={"rounds": 1, "value": 1},
    )
    return draft_of({"model": graph}, {"score": verb}, family="classical", task="waiting")


def pilot(folder: Path) -> Draft:
    """Table → port or starboard, whichever number is larger, by the softmax of both."""
    inputs = (Tensor(name="observation", dtype="float32", shape=("N", 2)),)
    outputs = (Tensor(name="probabilities", dtype="float32", shape=("N", 2)),)
    node = helper.make_node("Softmax", ["observation"], ["probabilities"], axis=1)
    graph = save(folder, [node], inputs, outputs, [])
    verb = Verb(
        input=TableInput(tensor="observation", columns=(Column(name="left"), Column(name="right"))),
        answer=ActionAnswer(names=("port", "starboard"), first=1),
        example={"left": 0.5, "right": 2},
    )
    return draft_of({"model": graph}, {"predict": verb}, category="control", task="steering")


def windows(folder: Path) -> Draft:
    """Image → two boxes, the upper half of what the graph sees and its lower right quarter; the
    first as sure as the picture is bright, the second half as sure. A third place is empty.
    """
    inputs = (Tensor(name="image", dtype="uint8", shape=("N", 1, 4, 4)),)
    outputs = (
        Tensor(name="boxes", dtype="float32", shape=("N", 3, 4)),
        Tensor(name="scores", dtype="float32", shape=("N", 3)),
        Tensor(name="classes", dtype="int64", shape=("N", 3)),
    )
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("ReduceMean", ["flat", "axes"], ["bright"], keepdims=1),
        helper.make_node("Div", ["bright", "white"], ["share"]),
        helper.make_node("Mul", ["share", "sure"], ["scores"]),
        helper.make_node("Shape", ["image"], ["rows"], start=0, end=1),
        helper.make_node("Concat", ["rows", "one_two"], ["repeats"], axis=0),
        helper.make_node("Concat", ["rows", "one"], ["repeats_of_classes"], axis=0),
        helper.make_node("Tile", ["places", "repeats"], ["boxes"]),
        helper.make_node("Tile", ["kinds", "repeats_of_classes"], ["classes"]),
    ]
    constants = [
        constant("axes", [1], "int64"),
        constant("white", 255),
        constant("sure", [[1, 0.5, 0]]),
        constant("one", [1], "int64"),
        constant("one_two", [1, 1], "int64"),
        constant("places", [[[0, 0, 1, 0.5], [0.5, 0.5, 1, 1], [0, 0, 0, 0]]]),
        constant("kinds", [[0, 1, 0]], "int64"),
    ]
    graph = save(folder, nodes, inputs, outputs, constants)
    verb = Verb(
        input=ImageInput(height=4, width=4, channels=1),
        answer=BoxesAnswer(labels=("sky", "door"), min_score=0.25),
        example=[[255] * 4] * 4,
    )
    return draft_of(
        {"model": graph},
        {"predict": verb},
        task="boxes",
        description="Always finds the same two things.",
    )


def silhouette(folder: Path) -> Draft:
    """Image → which of its pixels are bright, 128 and more."""
    inputs = (Tensor(name="image", dtype="uint8", shape=("N", 1, 4, 4)),)
    outputs = (Tensor(name="mask", dtype="uint8", shape=("N", 4, 4)),)
    nodes = [
        helper.make_node("Squeeze", ["image", "axes"], ["flat"]),
        helper.make_node("Div", ["flat", "half"], ["mask"]),
    ]
    constants = [constant("axes", [1], "int64"), constant("half", 128, "uint8")]
    graph = save(folder, nodes, inputs, outputs, constants)
    verb = Verb(
        input=ImageInput(height=4, width=4, channels=1, fit="pad"),
        answer=MaskAnswer(labels=("dark", "bright")),
        example=[[255, 255, 0, 0]] * 4,
    )
    return draft_of(
        {"model": graph},
        {"predict": verb},
        task="mask",
        description="Tells lit places from others.",
    )


def spots(folder: Path) -> Draft:
    """Image → how bright it is, from 0 to 255, anomalous above 100; its map is what the graph saw
    of it.
    """
    inputs = (Tensor(name="image", dtype="uint8", shape=("N", 1, 4, 4)),)
    outputs = (
        Tensor(name="score", dtype="float32", shape=("N",)),
        Tensor(name="contributions", dtype="float32", shape=("N", 1)),
        Tensor(name="map", dtype="uint8", shape=("N", 1, 4, 4)),
    )
    nodes = [
        helper.make_node("Identity", ["image"], ["map"]),
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "rest"], ["score"], keepdims=0),
        helper.make_node("Unsqueeze", ["score", "axes"], ["contributions"]),
    ]
    constants = [constant("rest", [1, 2, 3], "int64"), constant("axes", [1], "int64")]
    graph = save(folder, nodes, inputs, outputs, constants)
    answer = AnomalyAnswer(features=("light",), threshold=100, false_alarm_rate=0.01, map="map")
    verb = Verb(
        input=ImageInput(height=4, width=4, channels=1), answer=answer, example=[[255] * 4] * 4
    )
    return draft_of({"model": graph}, {"score": verb}, task="spots", description="Finds light.")


def negative(folder: Path) -> Draft:
    """Image → what is dark in it bright, and the other way round, as large as it came."""
    sides: Shape = ("N", 3, "H", "W")
    inputs = (Tensor(name="picture", dtype="uint8", shape=sides),)
    outputs = (Tensor(name="image", dtype="uint8", shape=sides),)
    node = helper.make_node("Sub", ["white", "picture"], ["image"])
    graph = save(folder, [node], inputs, outputs, [constant("white", 255, "uint8")])
    verb = Verb(
        input=ImageInput(tensor="picture"), answer=ImageAnswer(), example=[[[255, 0, 0]] * 2]
    )
    return draft_of({"model": graph}, {"generate": verb}, task="negative")


MAKERS: dict[str, Callable[[Path], Draft]] = {
    maker.__name__: maker
    for maker in (
        shades,
        sensor,
        words,
        tide,
        tones,
        stamps,
        inks,
        codec,
        reciter,
        snail,
        pilot,
        windows,
        silhouette,
        spots,
        negative,
    )
}


def publish(root: Path, maker: Callable[[Path], Draft], name: str | None = None) -> Manifest:
    """Make a bundle and publish it under its maker's name, or another one."""
    store = Store(root)
    name = name or maker.__name__
    with store.stage(name) as staged:
        return store.publish(name, staged, maker(staged))
