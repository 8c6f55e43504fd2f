"""What the commands say of graphs that nobody published, and of how a graph batches."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from model_store.manifest import Batching, Draft, Manifest
from model_store.store import Store
from tests.model_store.commands import Modelhub
from tests.model_store.graphs import echo

Plain = Callable[..., Path]
Publish = Callable[..., Manifest]


def test_a_plain_graph_is_listed_and_shown_with_what_was_inferred(
    modelhub: Modelhub, plain: Plain
) -> None:
    folder = plain()
    rows = [re.split(r"  +", line) for line in modelhub("list")[1].splitlines()]
    assert rows[1] == ["bare", "1", "other", "inference", "predict", "0.0 MB"]
    code, out, err = modelhub("show", "bare")
    assert (code, err) == (0, "")
    size = (folder / "model.onnx").stat().st_size
    for words in (
        "bare@1  other, inference",
        "predict     tensor → tensor  (model.onnx)",
        "batches     up to 64 rows in one run\n",
        "scored on   never evaluated here",
        "made by     unknown",
        "inferred    Inputs and outputs are those of model.onnx: x float32[N, 2] → ",
        "inferred    Rows of several requests share a run",
        f"file        model.onnx  {size} bytes  no digest",
    ):
        assert words in out
    assert modelhub.json("show", "bare")["inferred"][0].startswith("Inputs and outputs are")


def test_a_graph_that_does_not_batch_is_shown_with_the_reason(
    modelhub: Modelhub, plain: Plain
) -> None:
    plain(echo({"image": ("FLOAT", [1, 3])}))
    out = modelhub("show", "bare")[1]
    assert "batches     no: input image has a fixed first axis of 1\n" in out


def test_each_graph_of_several_is_shown_with_how_it_batches(
    modelhub: Modelhub, store: Store, draft: Draft, graph: bytes
) -> None:
    one = draft.graphs["model"]
    alone = Batching(rows=False, max_rows=1)
    other = one.model_copy(update={"file": "other.onnx", "batching": alone})
    with store.stage("toy") as folder:
        (folder / "model.onnx").write_bytes(graph)
        (folder / "other.onnx").write_bytes(graph)
        graphs = {"model": one, "other": other}
        store.publish("toy", folder, draft.model_copy(update={"graphs": graphs}))
    out = modelhub("show", "toy")[1]
    assert "batches     up to 64 rows in one run  (model.onnx)\n" in out
    assert "batches     no  (other.onnx)\n" in out


def test_a_plain_graph_is_verified_as_far_as_it_goes(
    modelhub: Modelhub, publish: Publish, plain: Plain
) -> None:
    folder = plain()
    publish()
    words = "not published by modelhub: no digests to check"
    assert modelhub("verify") == (0, f"bare@1: {words}\ntoy@1: ok\n", "")
    assert modelhub.json("verify", "bare") == [{"ref": "bare@1", "ok": True, "reason": words}]
    (folder / "model.onnx").write_bytes(b"not found")
    code, out, _ = modelhub("verify", "bare")
    assert code == 1
    assert out.startswith("bare@1: model.onnx is cut off or not ONNX")


def test_an_example_of_a_plain_graph_is_made_whatever_its_size(
    modelhub: Modelhub, plain: Plain
) -> None:
    plain()
    assert json.loads(modelhub("example", "bare")[1]) == {"inputs": [[0, 0]]}
    plain(echo({"image": ("FLOAT", ["N", 3, 99, 99])}), "large")
    [item] = json.loads(modelhub("example", "large")[1])["inputs"]
    assert (len(item), len(item[0]), len(item[0][0])) == (3, 99, 99)
    code, out, err = modelhub("example", "bare", "--raw")
    assert (code, out) == (2, "")
    assert "an item of kind tensor has no raw form" in err
