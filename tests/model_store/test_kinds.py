"""The contract of every kind of input and answer. A new kind is here as soon as its file is."""

import ast
import base64
import contextlib
import io
import json
import typing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers

from model_store import answers, inputs
from model_store.answers import AnswerSpec
from model_store.answers.action import ActionAnswer
from model_store.answers.anomaly import AnomalyAnswer
from model_store.answers.boxes import BoxesAnswer
from model_store.answers.classes import ClassesAnswer
from model_store.answers.forecast import ForecastAnswer
from model_store.answers.image import ImageAnswer
from model_store.answers.mask import MaskAnswer
from model_store.answers.tensor import TensorAnswer
from model_store.answers.text import TextAnswer
from model_store.answers.transcript import TranscriptAnswer
from model_store.answers.values import ValuesAnswer
from model_store.answers.vector import VectorAnswer
from model_store.errors import ItemError, ItemMismatch
from model_store.inputs import InputSpec
from model_store.inputs.audio import AudioInput
from model_store.inputs.image import ImageInput
from model_store.inputs.none import NoneInput
from model_store.inputs.series import SeriesInput
from model_store.inputs.table import Column, TableInput
from model_store.inputs.tensor import TensorInput
from model_store.inputs.text import TextInput, TextParameters
from model_store.manifest import Tensor
from model_store.spec import (
    MAX_PARTS,
    AnswerKind,
    Array,
    Encoded,
    InputKind,
    Tensors,
    TensorSpec,
)

LONGEST_MESSAGE = 3_000


def _png() -> str:
    pixels = np.arange(6 * 5, dtype=np.uint8).reshape(6, 5) * 8
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def float32(values: Any) -> Array:
    return np.array(values, np.float32)


class Sample(NamedTuple):
    """An input kind's spec, an item it takes, and one it does not with the field at fault."""

    spec: InputKind
    item: Any
    bad: Any
    field: str


INPUTS = {
    "audio": Sample(
        AudioInput(sample_rate=8_000, block=4),
        {"samples": [0.0, 0.5, -0.25, 0.125, 1.0], "sample_rate": 8_000},
        {"samples": [0.0, 0.5], "sample_rate": 8_000.5},
        "sample_rate",
    ),
    "image": Sample(
        ImageInput(height=4, width=3, channels=1), {"b64": _png()}, {"b64": "not base64!"}, "b64"
    ),
    "none": Sample(
        NoneInput(noise_size=4, labels=("a", "b")), {"seed": 5, "label": "a"}, {"seed": -1}, "seed"
    ),
    "series": Sample(
        SeriesInput(columns=("x", "y"), length=3),
        [[1, 2], [3, 4], [5, 6], [7.5, 8]],
        {"x": [1, 2, 3], "y": [1, "two", 3]},
        "y",
    ),
    "table": Sample(
        TableInput(
            columns=(
                Column(name="a", usual=-2),
                Column(name="colour", categories=("red", "blue"), usual="red"),
            )
        ),
        {"a": 1.5, "colour": "blue"},
        {"a": 1.5, "colour": "green"},
        "colour",
    ),
    "tensor": Sample(
        TensorInput(
            tensors=(
                TensorSpec(name="x", dtype="float32", shape=("time", 2)),
                TensorSpec(name="ids", dtype="int64", shape=(3,)),
            )
        ),
        {"x": [[0.5, 1]], "ids": [1, 2, 3]},
        {"x": [[0.5, 1]], "ids": [1, 2.5, 3]},
        "ids",
    ),
    "text": Sample(TextInput(max_tokens=8), "a good day", ["a", "list"], ""),
}

ANSWERS: dict[str, tuple[AnswerKind, Tensors]] = {
    "action": (
        ActionAnswer(names=("left", "right"), first=1),
        {"probabilities": float32([[0.25, 0.75]])},
    ),
    "anomaly": (
        AnomalyAnswer(features=("a", "b"), threshold=0.5, false_alarm_rate=0.01),
        {"score": float32([0.75]), "contributions": float32([[0.25, 0.5]])},
    ),
    "boxes": (
        BoxesAnswer(labels=("cat", "dog")),
        {
            "boxes": float32([[[0, 0, 0.5, 1], [0, 0, 0, 0]]]),
            "scores": float32([[0.75, 0]]),
            "classes": np.array([[1, 0]]),
        },
    ),
    "classes": (
        ClassesAnswer(labels=("cat", "dog", "eel")),
        {"probabilities": float32([[0.25, 0.5, 0.25]])},
    ),
    "forecast": (
        ForecastAnswer(columns=("x",), horizon=2),
        {name: float32([[[1.0], [2.0]]]) for name in ("values", "lower", "upper")},
    ),
    "mask": (MaskAnswer(labels=("none", "cat")), {"mask": np.eye(4, dtype=np.uint8)[None]}),
    "image": (ImageAnswer(), {"image": np.zeros((2, 3, 4, 4), np.uint8)}),
    "tensor": (
        TensorAnswer(tensors=(TensorSpec(name="y", dtype="float32", shape=(2,)),)),
        {"y": float32([[0.5, float("nan")]])},
    ),
    "text": (TextAnswer(), {"tokens": np.zeros((1, 3), np.int64)}),
    "transcript": (
        TranscriptAnswer(tokens=("a", "b"), step_seconds=0.5),
        {"log_probabilities": np.log(float32([[[0.1, 0.8, 0.1], [0.1, 0.2, 0.7]]]))},
    ),
    "values": (ValuesAnswer(names=("fat", "water")), {"values": float32([[20.5, 61.0]])}),
    "vector": (VectorAnswer(size=2), {"embedding": float32([[0.5, -1.5]])}),
}


def _kinds(spec: Any) -> dict[str, Any]:
    """The members of a discriminated union, by kind."""
    union = typing.get_args(spec)[0]
    return {kind.model_fields["kind"].default: kind for kind in typing.get_args(union)}


def _files(package: Any) -> set[str]:
    found = Path(package.__file__).parent.glob("*.py")
    return {path.stem for path in found} - {"__init__"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle's folder with a real tokenizer, for the kinds that open one."""
    folder = tmp_path_factory.mktemp("bundle")
    words = ["[UNK]", "a", "good", "day"]
    unknown = {"unk_token": words[0]}
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, **unknown)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


specs = pytest.mark.parametrize(
    "spec",
    [sample.spec for sample in INPUTS.values()] + [spec for spec, _ in ANSWERS.values()],
    ids=lambda spec: type(spec).__name__,
)
input_kinds = pytest.mark.parametrize("kind", sorted(INPUTS))
answer_kinds = pytest.mark.parametrize("kind", sorted(ANSWERS))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=25,
)


def _encode(sample: Sample, item: object, folder: Path) -> Encoded:
    return sample.spec.encoder(folder)(item, sample.spec.parameters())


def _encode_or_refuse(sample: Sample, item: object, folder: Path) -> Encoded | None:
    """None where it was refused, in few words."""
    try:
        return _encode(sample, item, folder)
    except ItemError as error:
        if not 0 < len(str(error)) < LONGEST_MESSAGE:
            raise AssertionError(f"a message of {len(str(error))} characters") from error
        return None


# --- both --------------------------------------------------------------------------------------


def test_every_file_is_a_kind_and_every_kind_is_tested() -> None:
    assert set(_kinds(InputSpec)) == _files(inputs) == set(INPUTS)
    assert set(_kinds(AnswerSpec)) == _files(answers) == set(ANSWERS)
    assert len(INPUTS) >= 5
    assert len(ANSWERS) >= 5


def _union(spec: Any) -> TypeAdapter[Any]:
    return TypeAdapter(InputSpec if isinstance(spec, InputKind) else AnswerSpec)


@specs
def test_a_spec_survives_a_round_trip_through_json(spec: Any) -> None:
    assert _union(spec).validate_json(spec.model_dump_json()) == spec


@specs
def test_a_spec_refuses_a_field_it_does_not_know(spec: Any) -> None:
    with pytest.raises(ValidationError, match="colour"):
        _union(spec).validate_python({**spec.model_dump(), "colour": "red"})


@specs
def test_a_spec_cannot_be_changed(spec: Any) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec.kind = "other"


@specs
def test_parameters_have_defaults_and_refuse_others(spec: Any) -> None:
    spec.parameters()
    with pytest.raises(ValidationError, match="colour"):
        spec.parameters(colour="red")


def test_an_input_and_an_answer_share_no_parameter_but_the_seed() -> None:
    """A request's parameters are told apart by name; a seed means the same to both."""
    of_inputs = {name for s in INPUTS.values() for name in s.spec.parameters.model_fields}
    of_answers = {name for spec, _ in ANSWERS.values() for name in spec.parameters.model_fields}
    assert of_inputs & of_answers == {"seed"}


@pytest.mark.parametrize("package", [inputs, answers], ids=["inputs", "answers"])
def test_no_kind_knows_a_sibling(package: Any) -> None:
    for path in Path(package.__file__).parent.glob("*.py"):
        if path.stem == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            known = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            known += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in known if name.startswith("model_store.inputs")], path
            assert not [name for name in known if name.startswith("model_store.answers")], path


# --- inputs ------------------------------------------------------------------------------------


@input_kinds
def test_an_item_becomes_tensors_whose_first_axis_is_the_row(kind: str, folder: Path) -> None:
    sample = INPUTS[kind]
    encoded = _encode(sample, sample.item, folder)
    assert encoded.rows >= 1
    for name, array in encoded.tensors.items():
        assert len(array) == encoded.rows
        assert array.flags.c_contiguous
        Tensor.model_validate({"name": name, "dtype": array.dtype.name, "shape": array.shape})


@input_kinds
def test_an_item_gives_the_same_tensors_each_time(kind: str, folder: Path) -> None:
    sample = INPUTS[kind]
    first, second = (_encode(sample, sample.item, folder) for _ in range(2))
    for name, array in first.tensors.items():
        np.testing.assert_array_equal(array, second.tensors[name])
    assert first.context == second.context


@input_kinds
def test_an_item_sent_as_a_raw_body_gives_the_same_tensors(kind: str, folder: Path) -> None:
    sample = INPUTS[kind]
    if not sample.spec.media_types:
        with pytest.raises(ItemMismatch):
            sample.spec.body(sample.item)
        return
    body, media_type = sample.spec.body(sample.item)
    assert media_type in sample.spec.media_types
    [item] = sample.spec.items(body, media_type)
    from_body, from_json = (_encode(sample, i, folder) for i in (item, sample.item))
    for name, array in from_json.tensors.items():
        np.testing.assert_array_equal(array, from_body.tensors[name])


@input_kinds
def test_an_error_says_what_came_and_names_the_field(kind: str, folder: Path) -> None:
    sample = INPUTS[kind]
    with pytest.raises(ItemMismatch, match="got") as caught:
        _encode(sample, sample.bad, folder)
    assert caught.value.field.rpartition(".")[2] == sample.field
    assert str(caught.value).startswith(caught.value.field)


@input_kinds
@given(item=json_values)
def test_whatever_json_comes_it_is_encoded_or_refused(kind: str, item: Any, folder: Path) -> None:
    sample = INPUTS[kind]
    shapes = {k: (v.dtype, v.ndim) for k, v in _encode(sample, sample.item, folder).tensors.items()}
    encoded = _encode_or_refuse(sample, item, folder)
    if encoded:
        assert {k: (v.dtype, v.ndim) for k, v in encoded.tensors.items()} == shapes
        for array in encoded.tensors.values():
            assert np.isfinite(array).all()


@input_kinds
@given(data=st.data())
def test_a_field_with_anything_in_it_is_encoded_or_refused(
    kind: str, data: st.DataObject, folder: Path
) -> None:
    """As above, but nearer to what the kind takes: one part of a good item is replaced."""
    sample = INPUTS[kind]
    item = json.loads(json.dumps(sample.item))
    if isinstance(item, (dict, list)):
        place = data.draw(st.sampled_from(sorted(item) if isinstance(item, dict) else [0, 1]))
        item[place] = data.draw(json_values)
    _encode_or_refuse(sample, item, folder)


@input_kinds
@pytest.mark.parametrize(
    "item",
    [
        {f"key {n}": n for n in range(10_000)},
        {"k" * 1_000_000: 1},
        ["x" * 1_000_000],
        {"b64": "!" * 1_000_000},
        "data:image/png;base64," + "!" * 1_000_000,
        {"seed": "x" * 1_000_000},
        {"label": "x" * 1_000_000},
        [10**4000, 10**4000],
        {"a": 10**4000, "colour": "red"},
    ],
    ids=range(9),
)
def test_a_message_never_repeats_the_whole_of_a_large_item(
    kind: str, item: object, folder: Path
) -> None:
    with pytest.raises(ItemError) as caught:
        _encode(INPUTS[kind], item, folder)
    assert len(str(caught.value)) < LONGEST_MESSAGE


@input_kinds
@given(body=st.binary() | st.text().map(str.encode))
def test_whatever_body_comes_it_is_encoded_or_refused(kind: str, body: bytes, folder: Path) -> None:
    sample = INPUTS[kind]
    for media_type in sample.spec.media_types:
        with contextlib.suppress(ItemError):
            for item in sample.spec.items(body, media_type):
                _encode(sample, item, folder)


def test_what_can_be_divided_is_known() -> None:
    divisible = {kind for kind, sample in INPUTS.items() if sample.spec.divisible}
    assert divisible == {"image", "series", "table", "text"}
    for kind in set(INPUTS) - divisible:
        with pytest.raises(NotImplementedError):
            INPUTS[kind].spec.divider(Path())


@pytest.mark.parametrize("kind", ["image", "series", "table", "text"])
def test_an_item_with_all_its_parts_is_what_it_was_and_each_part_is_somewhere(
    kind: str, folder: Path
) -> None:
    sample = INPUTS[kind]
    whole = _encode(sample, sample.item, folder).tensors
    parts = sample.spec.divider(folder)(sample.item, sample.spec.parameters())
    count = len(parts.names)
    assert json.loads(json.dumps(parts.names)) == parts.names
    assert len({json.dumps(name, sort_keys=True) for name in parts.names}) == count > 1
    rows = parts.keep(np.concatenate([np.ones((1, count), np.bool_), ~np.eye(count, dtype=bool)]))
    assert rows.keys() == whole.keys()
    changed = np.zeros(count, np.bool_)
    for name, array in rows.items():
        assert array.dtype == whole[name].dtype
        np.testing.assert_array_equal(array[:1], whole[name])
        changed |= (array[1:] != whole[name]).reshape(count, -1).any(axis=1)
    assert changed.mean() > 0.5  # a part that is what it would be without it does not show


def test_a_cell_of_a_picture_is_named_by_its_place_in_what_was_sent() -> None:
    spec = ImageInput(height=14, width=14, channels=1, fit="pad")
    pixels = np.full((20, 40), 255, np.uint8)
    pixels[:, :20] = 0
    parts = spec.divider(Path())(pixels.tolist(), spec.parameters())
    assert parts.names[0]["box"][:2] == [0, 0]
    assert parts.names[-1]["box"][2:] == [40, 20]
    kept = np.zeros((1, len(parts.names)), np.bool_)
    [row] = parts.keep(kept)["image"]
    assert np.unique(row[0, :7]).tolist() == [128]  # the mean of what is seen
    assert np.unique(row[0, 7:]).tolist() == [255]  # what fills the rest stays


def test_the_map_of_a_picture_is_bright_where_a_cell_speaks_for_the_target() -> None:
    spec = ImageInput(height=7, width=7, channels=1)
    parts = spec.divider(Path())([[0] * 7] * 7, spec.parameters())
    values = np.zeros(49)
    values[0], values[48] = 2.0, -5.0
    drawn = base64.b64decode(parts.draw(values)["map"]["b64"])
    heat = np.asarray(Image.open(io.BytesIO(drawn)))
    assert heat.shape == (7, 7)
    assert heat[0, 0] == 255
    assert not heat[1:, 1:].any()
    assert not np.asarray(Image.open(io.BytesIO(base64.b64decode(
        parts.draw(-np.ones(49))["map"]["b64"])))).any()  # fmt: skip


def test_the_parts_of_a_text_are_its_words_and_marks_around_it_stay(folder: Path) -> None:
    spec = TextInput(max_tokens=8)
    parts = spec.divider(folder)("a good, day", spec.parameters())
    assert [name["text"] for name in parts.names] == ["a", "good", ",", "day"]
    assert parts.names[1] == {"text": "good", "start": 2, "end": 6}
    kept = np.array([[True, False, True, True]])
    assert parts.keep(kept)["tokens"].tolist() == [[1, 0, 0, 3]]  # 0: a word it does not know
    assert parts.keep(kept)["mask"].tolist() == [[1, 1, 1, 1]]


def test_a_long_text_is_divided_into_stretches_of_words(folder: Path) -> None:
    text = " ".join(["good", "day"] * 60)
    spec = TextInput()
    parts = spec.divider(folder)(text, spec.parameters())
    assert 24 < len(parts.names) <= MAX_PARTS
    assert parts.names[0]["text"] == "good day good"
    assert parts.names[-1]["end"] == len(text)


def test_a_text_that_was_cut_has_no_parts_beyond_the_cut(folder: Path) -> None:
    spec = TextInput(max_tokens=3)
    parts = spec.divider(folder)("a good day good day", TextParameters(truncate=True))
    assert [name["text"] for name in parts.names] == ["a", "good", "day"]


def test_a_stretch_of_a_series_counts_from_the_first_step_that_was_sent() -> None:
    spec = SeriesInput(columns=("x", "y"), length=3)
    parts = spec.divider(Path())([[9, 9], [1, 10], [2, 20], [6, 30]], spec.parameters())
    assert parts.names[0] == {"column": "x", "start": 1, "end": 2}
    assert parts.names[-1] == {"column": "y", "start": 3, "end": 4}
    kept = np.array([[True, True, False, False, True, True]])
    assert parts.keep(kept)["series"][0].tolist() == [[1, 20], [2, 20], [3, 30]]


def test_a_column_learns_what_is_usual_and_a_table_without_it_is_not_divided() -> None:
    assert Column(name="a").learned_from(np.array([1, 2, 100])).usual == 2
    words = Column(name="b", categories=("red", "blue"))
    assert words.learned_from(np.array([1, 0, 1])).usual == "blue"
    assert not TableInput(columns=(Column(name="a", usual=1), words)).divisible
    with pytest.raises(ValidationError, match="green"):
        Column(name="b", categories=("red", "blue"), usual="green")


# --- answers -----------------------------------------------------------------------------------


@answer_kinds
def test_the_numbers_that_can_be_explained_have_names_and_are_in_the_answer(kind: str) -> None:
    spec, tensors = ANSWERS[kind]
    if not spec.targets:
        with pytest.raises(NotImplementedError):
            spec.amounts(tensors)
        return
    amounts = spec.amounts(tensors)
    assert amounts.shape == (1, len(spec.targets))
    foremost = spec.foremost(amounts[0])
    assert 0 <= foremost < len(spec.targets)
    assert kind in {"action", "anomaly", "classes", "forecast", "values"}
    if kind == "classes":
        assert spec.targets[foremost] == _answer(kind)["label"]
        assert amounts[0, foremost] == _answer(kind)["score"]
    if kind == "action":
        assert spec.targets[foremost] == "right"


def _answer(kind: str) -> dict[str, Any]:
    spec, tensors = ANSWERS[kind]
    return spec.answer(tensors, {}, spec.parameters())


@answer_kinds
def test_an_answer_is_json_with_finite_numbers(kind: str) -> None:
    answer = _answer(kind)
    assert answer
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


@answer_kinds
def test_an_answer_leaves_its_tensors_as_they_were(kind: str) -> None:
    spec, tensors = ANSWERS[kind]
    before = {name: array.copy() for name, array in tensors.items()}
    for array in tensors.values():
        array.flags.writeable = False  # rows are views of the whole batch's output
    assert spec.answer(tensors, {}, spec.parameters()) == _answer(kind)
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, before[name])
