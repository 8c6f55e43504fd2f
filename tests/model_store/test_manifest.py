import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from model_store.answers.classes import ClassesAnswer
from model_store.answers.image import ImageAnswer
from model_store.errors import BadManifest, ItemMismatch
from model_store.inputs.none import NoneInput, NoneParameters
from model_store.inputs.tensor import TensorInput
from model_store.inputs.text import TextInput
from model_store.manifest import Draft, FileEntry, Manifest, Verb
from model_store.spec import TensorSpec

FILES = {"model.onnx": FileEntry(sha256="0" * 64, size_bytes=3)}


@pytest.fixture
def manifest(draft: Draft) -> Manifest:
    return Manifest(**draft.model_dump(), name="toy", version=3, created=1_700_000_000, files=FILES)


def test_manifest_survives_a_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def _seal(body: dict[str, Any]) -> bytes:
    """As a manifest of whatever age was sealed: the digest covers the fields that it had."""
    body.pop("digest", None)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(canonical).hexdigest()
    return json.dumps({**body, "digest": digest}, indent=1).encode()


def test_a_manifest_from_before_plain_graphs_is_read_as_it_was(manifest: Manifest) -> None:
    body = json.loads(manifest.to_json())
    assert _seal(dict(body)) == manifest.to_json()
    del body["inferred"]
    for graph in body["graphs"].values():
        del graph["batching"]["rows"], graph["batching"]["reason"]
    assert Manifest.from_json(_seal(body)) == manifest


def test_a_published_manifest_needs_every_digest(manifest: Manifest) -> None:
    body = json.loads(manifest.to_json())
    for entry in ({"sha256": None, "size_bytes": 3}, {"size_bytes": 3}):
        body["files"]["model.onnx"] = entry
        with pytest.raises(BadManifest, match=r"manifest\.json: .*'model\.onnx' has no sha256"):
            Manifest.from_json(_seal(body))
    inferred = Manifest.model_validate({**body, "inferred": ["The shape."]})
    assert inferred.files["model.onnx"].sha256 is None


def test_no_manifest_file_may_say_that_it_was_inferred(manifest: Manifest) -> None:
    """It would be believed without digests."""
    inferred = manifest.model_copy(update={"inferred": ("The shape.",)})
    with pytest.raises(BadManifest, match=r"manifest\.json: inferred: expected nothing"):
        Manifest.from_json(inferred.to_json())


def test_where_it_comes_from_may_be_unknown(manifest: Manifest) -> None:
    unknown = Manifest(**{**manifest.model_dump(), "provenance": None})
    assert Manifest.from_json(unknown.to_json()).provenance is None


def test_a_scalar_is_for_graphs_without_rows(draft: Draft) -> None:
    body = draft.model_dump()
    body["graphs"]["model"]["outputs"][0]["shape"] = []
    with pytest.raises(ValidationError, match="tensor probabilities is a scalar"):
        Draft.model_validate(body)
    body["graphs"]["model"]["batching"] = {"rows": False, "reason": "a scalar"}
    assert Draft.model_validate(body).graphs["model"].outputs[0].shape == ()


def test_metrics_keep_their_order(manifest: Manifest) -> None:
    read = Manifest.from_json(manifest.to_json())
    assert list(read.metrics) == ["zeta", "accuracy", "mean_error"]


def test_text_in_any_script_survives(draft: Draft) -> None:
    words = "Zähler 数字 ✓ \u2028"
    body = {**draft.model_dump(), "description": words}
    manifest = Manifest(**body, name="toy", version=1, created=0, files=FILES)
    assert Manifest.from_json(manifest.to_json()).description == words


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused_by_number(manifest: Manifest, version: object) -> None:
    body = json.loads(manifest.to_json())
    text = json.dumps({**body, "schema_version": version}).encode()
    with pytest.raises(BadManifest, match=r"schema_version .*this modelhub reads 1"):
        Manifest.from_json(text)


def test_any_changed_byte_is_refused(manifest: Manifest) -> None:
    text = manifest.to_json()
    for place in range(len(text)):
        changed = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        with pytest.raises(BadManifest):
            Manifest.from_json(changed)


def test_the_same_content_written_otherwise_is_refused(manifest: Manifest) -> None:
    text = manifest.to_json()
    for changed in (
        text.replace(b"\n ", b"\n\t"),
        text + b"\n",
        json.dumps(json.loads(text)).encode(),
    ):
        with pytest.raises(BadManifest, match="was changed"):
            Manifest.from_json(changed)


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"7", b'"x"', b"{}", b"{", b"\xff", b"[" * 100_000, b'{"digest": 1}'],
)
def test_what_is_no_manifest_is_a_bad_manifest(text: bytes) -> None:
    with pytest.raises(BadManifest, match=r"manifest\.json"):
        Manifest.from_json(text)


def test_unknown_field_is_refused_even_with_a_true_digest(manifest: Manifest) -> None:
    class Newer(Manifest):
        colour: str = "red"

    newer = Newer(**manifest.model_dump())
    with pytest.raises(BadManifest, match=r"manifest\.json: colour: "):
        Manifest.from_json(newer.to_json())


def test_verb_pointing_at_no_graph_is_refused(draft: Draft) -> None:
    body = draft.model_dump()
    body["verbs"]["predict"]["graph"] = "decoder"
    with pytest.raises(ValidationError, match="verb predict points at graph 'decoder'"):
        Draft.model_validate(body)


@pytest.mark.parametrize("file", ["../model.onnx", "/etc/passwd", "a/../../b", "a\\b"])
def test_file_outside_the_bundle_is_refused(draft: Draft, file: str) -> None:
    with pytest.raises(ValidationError, match="lies outside the bundle"):
        Manifest(
            **draft.model_dump(), name="toy", version=1, created=0,
            files={**FILES, file: FILES["model.onnx"]},
        )  # fmt: skip


def test_graph_whose_file_is_not_listed_is_refused(draft: Draft) -> None:
    with pytest.raises(ValidationError, match=r"'model\.onnx', which is not among the files"):
        Manifest(**draft.model_dump(), name="toy", version=1, created=0, files={})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family", "perceptron"),
        ("category", "smell"),
        ("graphs", {}),
        ("verbs", {}),
        ("verbs", {"destroy": {}}),
        ("metrics", {"accuracy": float("nan")}),
        ("baselines", {"mean": {"accuracy": float("inf")}}),
    ],
)
def test_draft_refuses(draft: Draft, field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Draft.model_validate({**draft.model_dump(), field: value})


@pytest.mark.parametrize("name", ["", "Toy", "../toy", "a/b", "a" * 64, "naïve", "toy\n", "-toy"])
def test_manifest_refuses_a_name_the_store_would(draft: Draft, name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        Manifest(**draft.model_dump(), name=name, version=1, created=0, files=FILES)


def test_manifest_is_frozen(manifest: Manifest) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest.task = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("there", "main"),
    [
        (["embed", "predict"], "predict"),
        (["embed", "generate"], "generate"),
        (["embed", "score"], "score"),
        (["embed"], "embed"),
    ],
)
def test_main_verb_is_the_first_a_reader_thinks_of(
    manifest: Manifest, there: list[str], main: str
) -> None:
    body = manifest.model_dump()
    verb = body["verbs"]["predict"]
    read = Manifest.model_validate({**body, "verbs": dict.fromkeys(there, verb)})
    assert read.main_verb[0] == main


def test_size_is_the_sum_of_the_files(publish: Callable[..., Manifest]) -> None:
    assert publish(content=b"x" * 1000).size_bytes == 1000 + len("# Toy\n") + len(b"\x89PNG")


def _verb(**parts: Any) -> Verb:
    return Verb(
        **{"example": {}, "input": NoneInput(noise_size=4), "answer": ImageAnswer()} | parts
    )


def test_only_a_tensor_can_do_without_an_example() -> None:
    pixels = TensorInput(tensors=(TensorSpec(name="x", dtype="uint8", shape=(2,)),))
    assert _verb(input=pixels, example=None).sample() == [0, 0]
    assert _verb(input=pixels, example=[1, 2]).sample() == [1, 2]
    with pytest.raises(ValidationError, match="an input of kind none needs an example"):
        _verb(example=None)


def test_parameters_are_split_between_input_and_answer() -> None:
    verb = _verb(answer=ClassesAnswer(labels=("a", "b")))
    for_input, for_answer = verb.read_parameters({"seed": 5, "top_k": 1})
    assert for_input == NoneParameters(seed=5)
    assert for_answer.top_k == 1


def test_parameters_have_defaults() -> None:
    for_input, _ = _verb().read_parameters({})
    assert for_input == NoneParameters()


def test_unknown_parameter_is_refused_with_those_there_are() -> None:
    with pytest.raises(ItemMismatch, match=r"'truncation'.*got \['colour'\]") as caught:
        _verb().read_parameters({"colour": "red"})
    assert caught.value.field == "parameters"


def test_parameter_of_a_verb_without_any_is_refused(draft: Draft) -> None:
    verb = draft.verbs["predict"].model_copy(update={"answer": ImageAnswer()})
    with pytest.raises(ItemMismatch, match="expected no parameters"):
        verb.read_parameters({"seed": 1})


def test_bad_parameter_is_named_with_what_came() -> None:
    verb = _verb(input=TextInput(max_tokens=5))
    with pytest.raises(ItemMismatch, match=r"parameters\.truncate: .*; got 'perhaps'"):
        verb.read_parameters({"truncate": "perhaps"})
