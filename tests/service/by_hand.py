"""What tiny bundles are made of: a graph put together by hand, and the draft of a manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from model_store.manifest import Batching, Draft, Graph, Provenance, Tensor, Verb

Shape: TypeAlias = tuple[int | str, ...]
ELEMENTS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}


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


def save_tokenizer(folder: Path, words: tuple[str, ...]) -> None:
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
