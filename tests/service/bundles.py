"""Tiny real bundles: graphs made by hand, one for each thing a test wants to see.

Each graph's answer can be worked out on paper, so a test knows what is right without running it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from model_store.answers.action import ActionAnswer
from model_store.answers.anomaly import AnomalyAnswer
from model_store.answers.classes import ClassesAnswer
from model_store.answers.forecast import ForecastAnswer
from model_store.answers.text import TextAnswer
from model_store.answers.transcript import TranscriptAnswer
from model_store.answers.vector import VectorAnswer
from model_store.decoding import Decoding
from model_store.inputs.audio import AudioInput
from model_store.inputs.image import ImageInput
from model_store.inputs.series import SeriesInput
from model_store.inputs.table import Column, TableInput
from model_store.inputs.text import TextInput
from model_store.manifest import Batching, Draft, Manifest, Tensor, Verb
from model_store.store import Store
from tests.service.by_hand import constant, draft_of, save, save_tokenizer
from tests.service.picture_bundles import inks, negative, silhouette, spots, stamps, windows

PAD = (4, 8)
"""Lengths the text graph is padded to."""
WORDS = ("[UNK]", "good", "bad", "fine", "poor")
RECITED = ("[UNK]", "one", "two", "three", "four", "[END]")
WEIGHTS = (9.0, 2.0, -2.0, 1.0, -1.0)
"""What each word adds. The first is what padding would add, were it not masked."""


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
    table = TableInput(columns=tuple(Column(name=name, usual=0) for name in ("a", "b", "code")))
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
    save_tokenizer(folder, WORDS)
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
    save_tokenizer(folder, RECITED)
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
