"""Callers that check every answer, and the plain graph whose answer tells its version."""

import http.client
import json
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def plain(root: Path, name: str, version: int, adds: float) -> None:
    """A plain graph whose answer tells its version: y = x + adds."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "adds"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.array(adds, np.float32), "adds")],
    )
    save(root, name, version, graph)


def save(root: Path, name: str, version: int, graph: onnx.GraphProto) -> None:
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9),
              str(folder / "model.onnx"))  # fmt: skip


class Caller(threading.Thread):
    """Asks for the bare name until told to stop, and checks every answer."""

    def __init__(self, address: tuple[str, int], seed: int, *, keep_alive: bool) -> None:
        super().__init__()
        self.address, self.keep_alive = address, keep_alive
        self.generator = np.random.default_rng(seed)
        self.stop = threading.Event()
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        while not self.stop.is_set():
            try:
                self.outcomes[self._ask(connection)] += 1
            except OSError as error:
                self.outcomes[f"lost: {error!r}"] += 1
            if not self.keep_alive:
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        row = self.generator.integers(0, 1000, 2).tolist()
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": row}
        body = json.dumps({"inputs": [tensor]})
        connection.request("POST", "/v2/models/adder/infer", body)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            return f"lost: {response.status} {text[:100]!r}"
        answer = json.loads(text)
        version = int(answer["model_version"])
        right = [value + version for value in row]
        told = int(response.headers["X-Model-Version"])
        good = answer["outputs"][0]["data"] == right and told == version
        return f"right, version {version}" if good else f"wrong: {answer} for {row}"
