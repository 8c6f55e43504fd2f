"""Graphs made by ``onnx``, one for each thing a test wants to see."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Values = Mapping[str, tuple[str, list[Any] | None]]
"""Name → element type in ONNX's words, and shape."""


def values(named: Values) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.DataType.Value(element), shape)
        for name, (element, shape) in named.items()
    ]


[X, Y] = values({name: ("FLOAT", ["N", 2]) for name in "xy"})
IDENTITY = helper.make_node("Identity", ["x"], ["y"])


def model_of(
    nodes: list[onnx.NodeProto], inputs: Any = (X,), outputs: Any = (Y,), **parts: Any
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "graph", list(inputs), list(outputs), **parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


BARE: Values = {"x": ("FLOAT", ["N", 2])}


def echo(inputs: Values = BARE, **shapes: list[Any] | None) -> onnx.ModelProto:
    """A model that gives each input ``x`` back as ``x_out``, said to be of the shape given here."""
    outputs = {
        f"{name}_out": (element, shapes.get(name, shape))
        for name, (element, shape) in inputs.items()
    }
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
    return model_of(nodes, values(inputs), values(outputs))


def stored(location: str, name: str = "w") -> TensorProto:
    """A tensor whose data lie in another file."""
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


# --- weights in another file, and everywhere that a graph can keep them -------------------------


def _in_branch(tensor: TensorProto) -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    branch = helper.make_graph([constant], "branch", [], [Y])
    deeper = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    middle = helper.make_graph([deeper], "middle", [], [Y])
    return model_of([helper.make_node("If", ["x"], ["y"], then_branch=middle)])


def _in_function(tensor: TensorProto) -> onnx.ModelProto:
    body = [helper.make_node("Constant", [], ["y"], value=tensor)]
    opsets = [helper.make_opsetid("", 18)]
    model = model_of([helper.make_node("f", ["x"], ["y"], domain="own")])
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], body, opsets))
    return model


def _in_default(tensor: TensorProto) -> onnx.ModelProto:
    model = _in_function(numpy_helper.from_array(np.zeros(1)))
    model.functions[0].attribute_proto.append(helper.make_attribute("w", tensor))
    return model


def _in_training(tensor: TensorProto) -> onnx.ModelProto:
    model = model_of([IDENTITY])
    graph = helper.make_graph([], "step", [], [], initializer=[tensor])
    model.training_info.add(algorithm=graph)
    return model


def _in_sparse(tensor: TensorProto) -> onnx.ModelProto:
    sparse = onnx.SparseTensorProto(values=tensor, indices=tensor, dims=[2])
    return model_of([IDENTITY], sparse_initializer=[sparse])


def _in_list(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Own", ["x"], ["y"], domain="own", tensors=[tensor, tensor])
    return model_of([node])


def _in_second_graph(tensor: TensorProto) -> bytes:
    """Protobuf joins two fields of one number: this is one graph with the tensor in it."""
    more = onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor]))
    return bytes(model_of([IDENTITY]).SerializeToString() + more.SerializeToString())


def _unsaid(tensor: TensorProto) -> Any:
    """The tensor does not say that its data are elsewhere, but has the place."""
    tensor.ClearField("data_location")
    return model_of([IDENTITY], initializer=[tensor])


PLACES: dict[str, Callable[[TensorProto], Any]] = {
    "weights": lambda tensor: model_of([IDENTITY], initializer=[tensor]),
    "constant": lambda t: model_of([helper.make_node("Constant", [], ["y"], value=t)]),
    "branch": _in_branch,
    "function": _in_function,
    "default": _in_default,
    "training": _in_training,
    "sparse": _in_sparse,
    "list": _in_list,
    "second": _in_second_graph,
    "unsaid": _unsaid,
}
