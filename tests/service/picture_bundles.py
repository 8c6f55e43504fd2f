"""Tiny bundles that take pictures or draw them, beside those of ``bundles``."""

from pathlib import Path

from onnx import TensorProto, helper

from model_store.answers.anomaly import AnomalyAnswer
from model_store.answers.boxes import BoxesAnswer
from model_store.answers.image import ImageAnswer
from model_store.answers.mask import MaskAnswer
from model_store.inputs.image import ImageInput
from model_store.inputs.none import Attribute, NoneInput
from model_store.manifest import Draft, Tensor, Verb
from tests.service.by_hand import Shape, constant, draft_of, save


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
