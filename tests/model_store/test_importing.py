"""``modelhub import``: what is refused, in which words, and that nothing is published then.

Graphs are made by hand with the tensors of an Optimum export; none of them is run here.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper
from tokenizers import Tokenizer, models, pre_tokenizers

from model_store.cli import main
from tests.buckets import S3
from tests.model_store.commands import Modelhub
from tests.model_store.graphs import echo, model_of, stored, values

CACHE = ("FLOAT", ["batch", 2, "past", 8])
INPUTS: dict[str, Any] = {
    "input_ids": ("INT64", ["batch", "new"]),
    "attention_mask": ("INT64", ["batch", "all"]),
    "past_key_values.0.key": CACHE,
    "past_key_values.0.value": CACHE,
}
OUTPUTS: dict[str, Any] = {
    "logits": ("FLOAT", ["batch", "new", 6]),
    "present.0.key": ("FLOAT", ["batch", 2, "past + new", 8]),
    "present.0.value": ("FLOAT", ["batch", 2, "past + new", 8]),
}
CONFIG = {"model_type": "toy", "max_position_embeddings": 32, "eos_token_id": 5, "vocab_size": 6}
Change = dict[str, Any]
Folder = Callable[..., Path]


def decoder(
    inputs: Change | None = None, outputs: Change | None = None, **parts: Any
) -> onnx.ModelProto:
    """The graph with some tensors other, or (None) not there."""
    sides = [{**INPUTS, **(inputs or {})}, {**OUTPUTS, **(outputs or {})}]
    named = [{key: value for key, value in side.items() if value} for side in sides]
    nodes = [helper.make_node("Own", list(named[0]), list(named[1]), domain="own")]
    return model_of(nodes, *map(values, named), **parts)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """``folder(model, config)`` is an export; ``config`` changes what config.json says."""

    def make(model: onnx.ModelProto | None = None, **config: Any) -> Path:
        path = tmp_path / "export"
        path.mkdir()
        (path / "model.onnx").write_bytes((model or decoder()).SerializeToString())
        said = {key: value for key, value in {**CONFIG, **config}.items() if value != "absent"}
        (path / "config.json").write_text(json.dumps(said))
        words = {word: token for token, word in enumerate("abcdef")}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token=min(words)))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.save(str(path / "tokenizer.json"))
        return path

    return make


@pytest.fixture
def refusal(modelhub: Modelhub) -> Callable[..., str]:
    """The one line that a refused import says; nothing is left of it."""

    def refuse(path: Path, *flags: str) -> str:
        code, out, err = modelhub("import", str(path), "--name", "mine", *flags)
        assert (code, out) == (2, "")
        assert err.startswith("modelhub: ")
        assert err.count("\n") == 1
        left = modelhub.store.root.rglob("*") if modelhub.store.root.exists() else ()
        assert [path for path in left if path.is_file()] == []
        return err.removeprefix("modelhub: ").rstrip("\n")

    return refuse


# --- what is taken -----------------------------------------------------------------------------


def test_a_decoder_becomes_a_version_that_generates(modelhub: Modelhub, folder: Folder) -> None:
    path = folder()
    code, out, err = modelhub(
        "import", str(path), "--name", "mine", "--license", "MIT", "--source", "a friend"
    )
    assert (code, err) == (0, "")
    assert out == "published mine@1: text-generation, context 32 tokens\n"
    bundle = modelhub.store.open("mine")
    bundle.verify()
    manifest = bundle.manifest
    assert (manifest.license, manifest.source, manifest.provenance) == ("MIT", "a friend", None)
    graph, verb = manifest.graphs["model"], manifest.verbs["generate"]
    assert graph.decoding is not None
    assert graph.decoding.model_dump(exclude_defaults=True) == {
        "form": "growing", "tokens": "input_ids", "mask": "attention_mask",
        "cache": {f"past_key_values.0.{part}": f"present.0.{part}" for part in ("key", "value")},
        "context": 32, "end": (5,),
    }  # fmt: skip
    assert (verb.input.kind, verb.answer.kind) == ("text", "text")
    _, shown, _ = modelhub("show", "mine")
    assert "made by     a friend\nlicense     MIT\n" in shown


def test_what_the_user_says_stands_in_the_manifest(modelhub: Modelhub, folder: Folder) -> None:
    flags = ["--context", "16", "--task", "chat", "--description", "Talks."]
    said = modelhub.json("import", str(folder()), "--name", "mine", *flags)
    manifest = modelhub.store.open("mine").manifest
    assert (manifest.task, manifest.description) == ("chat", "Talks.")
    assert said == {
        "name": "mine", "version": 1, "task": "chat", "verbs": ["generate"], "context": 16,
        "size_bytes": manifest.size_bytes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "generation", "end"),
    [
        ({}, {}, (5,)),
        ({"eos_token_id": [3, 4]}, {}, (3, 4)),
        ({"eos_token_id": "absent"}, {"eos_token_id": [0, 2]}, (0, 2)),
        ({}, {"eos_token_id": 1}, (1,)),
        ({}, {"eos_token_id": None}, (5,)),
        ({"eos_token_id": None}, {}, ()),
    ],
)
def test_a_text_ends_where_either_file_says(
    modelhub: Modelhub, folder: Folder, config: Change, generation: Change, end: tuple[int, ...]
) -> None:
    path = folder(**config)
    (path / "generation_config.json").write_text(json.dumps(generation))
    modelhub.json("import", str(path), "--name", "mine")
    decoding = modelhub.store.open("mine").manifest.graphs["model"].decoding
    assert decoding is not None
    assert decoding.end == end


@pytest.mark.parametrize(
    ("generation", "temperature"),
    [({}, 0), ({"temperature": 0.5}, 0), ({"do_sample": True}, 1),
     ({"do_sample": True, "temperature": 0.5}, 0.5)],
)  # fmt: skip
def test_it_draws_only_where_its_configuration_says_so(
    modelhub: Modelhub, folder: Folder, generation: Change, temperature: float
) -> None:
    path = folder()
    (path / "generation_config.json").write_text(json.dumps(generation))
    modelhub.json("import", str(path), "--name", "mine")
    answer: Any = modelhub.store.open("mine").manifest.verbs["generate"].answer
    assert answer.temperature == temperature


def test_positions_half_floats_and_the_older_names_are_taken(
    modelhub: Modelhub, folder: Folder
) -> None:
    half = ("FLOAT16", CACHE[1])
    past = {name: half for name in INPUTS if name.startswith("past")}
    made = {name: half for name in OUTPUTS if name.startswith("present")}
    vague = {"logits": ("FLOAT16", ["batch", "new", "vocabulary"])}
    positions = {"position_ids": ("INT64", ["batch", "new"])}
    path = folder(decoder({**past, **positions}, {**made, **vague}), n_positions=16,
                  max_position_embeddings="absent")  # fmt: skip
    (path / "model.onnx").rename(path / "decoder_model.onnx")
    assert modelhub.json("import", str(path), "--name", "mine")["context"] == 16
    graph = modelhub.store.open("mine").manifest.graphs["model"]
    assert graph.file == "decoder_model.onnx"
    assert graph.decoding is not None
    assert graph.decoding.positions == "position_ids"
    assert graph.outputs[0].shape == ("batch", "new", 6)  # as config.json says


def test_weights_beside_the_graph_come_along_and_padding_does_not(
    modelhub: Modelhub, folder: Folder
) -> None:
    path = folder(decoder(initializer=[stored("model.onnx_data")]))
    (path / "model.onnx_data").write_bytes(bytes(8))
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(path / "tokenizer.json"))
    modelhub.json("import", str(path), "--name", "mine")
    bundle = modelhub.store.open("mine")
    assert set(bundle.manifest.files) == {"model.onnx", "model.onnx_data", "tokenizer.json"}
    kept = Tokenizer.from_file(str(bundle.path("tokenizer.json")))
    assert kept.encode("b c d").ids == [1, 2, 3]


def test_a_plain_graph_is_published_with_digests(modelhub: Modelhub, tmp_path: Path) -> None:
    file = tmp_path / "twice.onnx"
    file.write_bytes(echo().SerializeToString())
    flags = ["--license", "MIT", "--source", "a friend"]
    code, out, err = modelhub("import", str(file), "--name", "mine", *flags)
    assert (code, out, err) == (0, "published mine@1: inference\n", "")
    manifest = modelhub.store.open("mine").manifest
    assert (manifest.license, manifest.source, manifest.inferred) == ("MIT", "a friend", ())
    assert "Rows of several requests share a run" in manifest.description
    assert manifest.files["twice.onnx"].sha256
    assert list(manifest.verbs) == ["predict"]
    assert modelhub.json("verify", "mine@1") == [{"ref": "mine@1", "ok": True, "reason": ""}]


def test_a_store_in_a_bucket_takes_it_too(
    folder: Folder, s3: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    url = s3.bucket()
    assert main(["import", str(folder()), "--name", "mine", "--store", url]) == 0
    assert main(["verify", "mine", "--store", url]) == 0
    assert capsys.readouterr().out.endswith("context 32 tokens\nmine@1: ok\n")


# --- what is refused ---------------------------------------------------------------------------

FIXED: Any = ("INT64", [1, "new"])
OTHER_GRAPHS: dict[str, tuple[Change, Change, str]] = {
    "merged": ({"use_cache_branch": ("BOOL", [1])}, {},
               "input use_cache_branch: this file is two graphs in one; expected the one that"
               " always takes past_key_values (optimum-cli export onnx --task"
               " text-generation-with-past, without --legacy)"),
    "no cache": ({name: None for name in INPUTS if name.startswith("past")}, {},
                 "input past_key_values.0.key is missing; expected a decoder with its cache"
                 " (optimum-cli export onnx --task text-generation-with-past). A graph of another"
                 " kind is imported by its file, not its folder"),
    "no tokens": ({"input_ids": None}, {}, "input input_ids is missing"),
    "no mask": ({"attention_mask": None}, {}, "input attention_mask is missing"),
    "more": ({"encoder_hidden_states": CACHE}, {},
             "input encoder_hidden_states: expected none but input_ids, attention_mask,"
             " position_ids and past_key_values.N.key and .value; nothing here could fill it"),
    "one row": ({"input_ids": FIXED}, {},
                "input input_ids: expected int64 [dynamic, dynamic]; got int64 [1, new]"),
    "small tokens": ({"attention_mask": ("INT32", ["batch", "all"])}, {},
                     "input attention_mask: expected int64 [dynamic, dynamic]; got int32"
                     " [batch, all]"),
    "no heads": ({"past_key_values.0.key": ("FLOAT", ["batch", "heads", "past", 8])}, {},
                 "input past_key_values.0.key: expected float32 or float16 [dynamic, a number,"
                 " dynamic, a number]; got float32 [batch, heads, past, 8]"),
    "no size": ({"past_key_values.0.value": ("FLOAT", ["batch", 2, "past", "size"])}, {},
                "input past_key_values.0.value: expected float32 or float16 [dynamic, a number,"
                " dynamic, a number]; got float32 [batch, 2, past, size]"),
    "bfloat16": ({"past_key_values.0.key": ("BFLOAT16", CACHE[1])}, {},
                 "input past_key_values.0.key: expected float32 or float16 [dynamic, a number,"
                 " dynamic, a number]; got bfloat16 [batch, 2, past, 8]"),
    "no present": ({}, {"present.0.value": None},
                   "output present.0.value is missing; input past_key_values.0.value needs it"),
    "other present": ({}, {"present.0.key": ("FLOAT16", CACHE[1])},
                      "output present.0.key: expected float32, as input past_key_values.0.key is;"
                      " got float16"),
    "no logits": ({}, {"logits": None}, "output logits is missing"),
    "flat logits": ({}, {"logits": ("FLOAT", ["batch", 6])},
                    "output logits: expected float32 or float16 [dynamic, dynamic, a number]; got"
                    " float32 [batch, 6]"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_GRAPHS)
def test_another_graph_is_refused_by_its_tensor(
    refusal: Callable[..., str], folder: Folder, case: str
) -> None:
    inputs, outputs, words = OTHER_GRAPHS[case]
    assert refusal(folder(decoder(inputs, outputs))) == f"model.onnx: {words}"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"max_position_embeddings": "absent"}, "config.json: max_position_embeddings or"
         " n_positions is missing; --context N says how many tokens fit"),
        ({"max_position_embeddings": "many"}, "config.json: max_position_embeddings: expected a"
         " whole number above 1; got 'many'"),
        ({"n_positions": 1, "max_position_embeddings": None},
         "config.json: n_positions: expected a whole number above 1; got 1"),
        ({"eos_token_id": "absent"},
         "eos_token_id is missing in generation_config.json and in config.json"),
        ({"eos_token_id": [2, 6]},
         "config.json: eos_token_id: expected tokens from 0 to 5; got [2, 6]"),
        ({"eos_token_id": True},
         "config.json: eos_token_id: expected tokens from 0 to 5; got True"),
    ],
)  # fmt: skip
def test_a_configuration_is_refused_by_its_field(
    refusal: Callable[..., str], folder: Folder, config: Change, words: str
) -> None:
    assert refusal(folder(**config)) == words


def test_a_temperature_that_is_none_is_refused(refusal: Callable[..., str], folder: Folder) -> None:
    path = folder()
    (path / "generation_config.json").write_text('{"do_sample": true, "temperature": "hot"}')
    assert refusal(path) == (
        "generation_config.json: temperature: expected a number from 0 to 100; got 'hot'"
    )


@pytest.mark.parametrize(
    ("context", "words"),
    [("33", "expected 2 to 32, the max_position_embeddings of config.json; got 33"),
     ("1", "expected 2 to 32, the max_position_embeddings of config.json; got 1")],
)  # fmt: skip
def test_a_context_beyond_the_positions_is_refused(
    refusal: Callable[..., str], folder: Folder, context: str, words: str
) -> None:
    assert refusal(folder(), "--context", context) == f"--context: {words}"


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(refusal: Callable[..., str], folder: Folder, file: str) -> None:
    path = folder()
    (path / file).unlink()
    assert refusal(path) == f"{file} is missing in {path}"


def test_files_that_are_not_what_they_should_be_are_named(
    refusal: Callable[..., str], folder: Folder
) -> None:
    path = folder()
    for file in ("tokenizer.json", "generation_config.json", "config.json"):
        (path / file).write_text("{")  # each is read before the one that is damaged already
        assert refusal(path).startswith(f"{file} is not ")
    (path / "config.json").write_text("[1]")
    assert refusal(path) == "config.json: expected a mapping; got a list of 1"
    (path / "model.onnx").write_bytes(b"")
    assert refusal(path) == "model.onnx is cut off or not ONNX: the file is empty"
    (path / "model.onnx").unlink()
    assert (
        refusal(path) == f"{path}: expected model.onnx or decoder_model.onnx in it; found neither"
    )
    shutil.rmtree(path)
    assert refusal(path) == f"{path}: expected a folder or an .onnx file; nothing is there"


def test_a_tokenizer_of_another_model_is_refused(
    refusal: Callable[..., str], folder: Folder
) -> None:
    path = folder(decoder(outputs={"logits": ("FLOAT", ["batch", "new", 4])}), eos_token_id=3)
    assert refusal(path) == "tokenizer.json: expected tokens from 0 to 3, as logits has them; got 5"


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json"])
def test_weights_under_a_name_of_the_bundles_own_are_refused(
    refusal: Callable[..., str], folder: Folder, name: str
) -> None:
    path = folder(decoder(initializer=[stored(name)]))
    (path / "manifest.json").write_bytes(bytes(8))
    assert f"keeps weights in {name}" in refusal(path)


def test_missing_weights_are_named(refusal: Callable[..., str], folder: Folder) -> None:
    path = folder(decoder(initializer=[stored("model.onnx_data")]))
    assert refusal(path) == "model.onnx keeps weights in 'model.onnx_data', which is missing"


def test_a_plain_graph_has_no_context(refusal: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "twice.onnx"
    file.write_bytes(echo().SerializeToString())
    words = "--context: twice.onnx is one graph; a decoder comes as its folder"
    assert refusal(file, "--context", "9") == words
    file.write_bytes(b"no graph")
    assert refusal(file).startswith("twice.onnx ")


def test_a_name_that_cannot_be_is_refused(modelhub: Modelhub, folder: Folder) -> None:
    code, _, err = modelhub("import", str(folder()), "--name", "My Model")
    assert (code, err) == (2, "modelhub: name 'My Model': expected [a-z0-9][a-z0-9._-]{0,62}\n")
