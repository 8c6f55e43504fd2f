"""Plain Triton folders made by hand, one for each thing of the protocol that a test wants."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

Array: TypeAlias = npt.NDArray[Any]
Axes: TypeAlias = Sequence[int | str]
Value: TypeAlias = tuple[str, Axes]
"""Datatype in the protocol's words, and shape."""

ELEMENTS = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32, "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16, "INT32": TensorProto.INT32, "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE, "BYTES": TensorProto.STRING,
}  # fmt: skip
NUMPY: dict[str, Any] = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32,
    "UINT64": np.uint64, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64,
    "BYTES": np.object_,
}  # fmt: skip
"""As tritonclient has them, which is another table than the server's."""
LIMITS = {
    "FP16": (65504.0, 2.0**-14), "BF16": (float.fromhex("0x1.fep127"), 2.0**-126),
    "FP32": (float.fromhex("0x1.fffffep127"), 2.0**-126),
    "FP64": (float.fromhex("0x1.fffffffffffffp1023"), 2.0**-1022),
}  # fmt: skip
"""Largest, and smallest normal number."""
IN_JSON = [name for name in ELEMENTS if name not in ("FP16", "BF16")]
"""Types that have a JSON form."""


def f32(values: Any) -> Array:
    """Nested numbers as an array of FP32."""
    return np.array(values, np.float32)


def sample(datatype: str) -> Array:
    """Two rows of three: the ends of what the type holds, and what lies between."""
    kind = NUMPY[datatype]
    if datatype == "BYTES":
        return np.array([["", "a", "straße"], ["日本\n", '"\\\t', "x" * 300]], np.object_)
    if datatype == "BOOL":
        return np.array([[True, False, False], [True, True, False]])
    if "INT" in datatype:
        ends = np.iinfo(kind)
        return np.array([[ends.min, ends.max, 0], [1, 7, ends.max // 2]], kind)
    most, least = LIMITS[datatype]
    return np.array([[-most, most, 0.0], [-0.0, 1.5, least]], kind)


def tensors(side: Mapping[str, Value]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, ELEMENTS[datatype], list(axes))
        for name, (datatype, axes) in side.items()
    ]


def model(
    nodes: list[onnx.NodeProto], inputs: Mapping[str, Value], outputs: Mapping[str, Value],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(nodes, "graph", tensors(inputs), tensors(outputs), list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def echo(datatype: str, *axes: int | str) -> onnx.ModelProto:
    """``x`` again as ``y``."""
    value = (datatype, axes)
    return model([helper.make_node("Identity", ["x"], ["y"])], {"x": value}, {"y": value})


def zoo() -> onnx.ModelProto:
    """One input of each datatype of the specification, each given back in capitals."""
    sides: dict[str, Value] = {
        name.lower(): (name, ("N", 3)) for name in ELEMENTS if name != "BF16"
    }
    nodes = [helper.make_node("Identity", [name], [name.upper()]) for name in sides]
    return model(nodes, sides, {name.upper(): value for name, value in sides.items()})


def pair() -> onnx.ModelProto:
    """``a`` and ``b`` → their sum and difference."""
    numbers: Value = ("FP32", ("N", 2))
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
    ]
    return model(nodes, {"a": numbers, "b": numbers}, {"sum": numbers, "difference": numbers})


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    **{f"echo_{name.lower()}": lambda name=name: echo(name, "N", 3) for name in ELEMENTS},  # type: ignore[misc]
    "zoo": zoo,
    "pair": pair,
    "counted": lambda: echo("FP32", "N", 3),
    "long": lambda: echo("FP32", "N", "L"),
    "wide": lambda: echo("FP32", "N", "A", "B", "C"),
    "text": lambda: echo("BYTES", "N", 1),
    "fixed": lambda: echo("FP32", 2, 3),
    "scalar": lambda: echo("FP64"),
    "flat": lambda: echo("FP32", "N"),
}


def put(store: Path, name: str, graph: onnx.ModelProto | bytes, version: int = 1) -> Path:
    """A model in Triton's layout; the folder of its version."""
    folder = store / name / str(version)
    folder.mkdir(parents=True)
    content = graph if isinstance(graph, bytes) else graph.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    return folder
