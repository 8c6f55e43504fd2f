"""How a graph is run token by token, as the manifest says it."""

from typing import Any

import pytest
from pydantic import ValidationError

from model_store.decoding import Decoding, Source
from model_store.manifest import Graph, Tensor


def tensor(name: str, dtype: Any, *shape: int | str) -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=shape)


def graph(**more: Any) -> Graph:
    past = ("batch", 2, "cache", 4)
    inputs = (
        tensor("tokens", "int64", "batch", "time"),
        tensor("lengths", "int32", "batch"),
        tensor("past.key", "float32", *past),
    )
    outputs = (tensor("logits", "float32", "batch", "time", 9), tensor("key", "float32", *past))
    decoding = {"form": "shared", "cache": {"past.key": "key"}, "lengths": "lengths", "context": 8}
    return Graph(
        file="model.onnx", inputs=inputs, outputs=outputs, decoding=Decoding(**decoding | more)
    )


def test_a_decoding_of_tensors_that_the_graph_has_is_taken() -> None:
    assert graph().decoding == graph(start=()).decoding


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tokens": "words"}, "input 'words'"),
        ({"logits": "scores"}, "output 'scores'"),
        ({"wanted": "places"}, "input 'places'"),
        ({"cache": {"past.value": "key"}}, "input 'past.value'"),
        ({"cache": {"past.key": "value"}}, "output 'value'"),
        ({"lengths": None}, "has lengths where it is shared"),
        ({"form": "growing"}, "has lengths where it is shared"),
        ({"mask": "lengths"}, "only a growing cache has a mask"),
        ({"source": Source()}, "needs a token to start with"),
        ({"cache": {}}, "at least 1"),
        ({"context": 1}, "greater than 1"),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_name(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        graph(**wrong)
