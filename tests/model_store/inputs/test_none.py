from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_store.errors import ItemMismatch
from model_store.inputs.none import MAX_SEED, Attribute, NoneInput, NoneParameters
from model_store.spec import Encoded

PLAIN = NoneInput(noise_size=8)
LABELLED = NoneInput(noise_size=8, labels=("cat", "dog", "eel"))
HAIR = Attribute(name="hair", values=("brown", "dark_red", "none"))
EYEWEAR = Attribute(name="eyewear", values=("none", "glasses", "sunglasses"))
FACES = NoneInput(noise_size=8, attributes=(HAIR, EYEWEAR))


def draw(item: object = None, spec: NoneInput = PLAIN, **parameters: Any) -> Encoded:
    return spec.encoder(Path())({} if item is None else item, spec.parameters(**parameters))


def noise(item: object = None, spec: NoneInput = PLAIN, **parameters: Any) -> list[list[float]]:
    array = draw(item, spec, **parameters).tensors["noise"]
    assert array.dtype == np.float32
    rows: list[list[float]] = array.tolist()
    return rows


def test_the_same_seed_is_the_same_noise_whoever_else_asks() -> None:
    first = noise(seed=5)
    np.random.default_rng().standard_normal(100)
    draw(seed=6, n=3)
    draw()
    assert noise(seed=5) == first
    assert noise(seed=6) != first
    assert noise({"seed": 5}) == first


def test_the_noise_of_a_seed_is_the_same_for_ever() -> None:
    """NumPy promises its generators' streams for one release only; a new one shows here."""
    np.testing.assert_allclose(noise(seed=5)[0][:3], [-0.80193143, -1.324359, -0.24836162])


def test_without_a_seed_every_draw_is_another_and_its_seed_makes_it_again() -> None:
    first, second = draw(n=2), draw(n=2)
    assert first.context["seeds"] != second.context["seeds"]
    again = noise(seed=first.context["seeds"][1])
    assert again[0] == first.tensors["noise"][1].tolist()


@given(st.integers(0, 2**40), st.integers(1, 20))
def test_rows_with_consecutive_seeds_equal_the_single_ones(seed: int, count: int) -> None:
    together = draw(spec=LABELLED, seed=seed, n=count)
    assert together.rows == count
    assert together.context["seeds"] == list(range(seed, seed + count))
    for place in range(count):
        alone = draw(spec=LABELLED, seed=seed + place)
        for name, array in alone.tensors.items():
            np.testing.assert_array_equal(array[0], together.tensors[name][place])
        assert alone.context["labels"] == together.context["labels"][place : place + 1]


def test_noise_is_standard_normal() -> None:
    array = draw(seed=0, n=1024, spec=NoneInput(noise_size=100)).tensors["noise"]
    assert array.shape == (1024, 100)
    assert abs(array.mean()) < 0.01
    assert abs(array.std() - 1) < 0.01


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_truncation_bounds_every_number(seed: int, bound: float) -> None:
    array = draw(seed=seed, truncation=bound, n=3).tensors["noise"]
    assert np.abs(array).max() <= np.float32(bound)


def test_truncation_redraws_only_what_is_too_far() -> None:
    free, bound = np.array(noise(seed=5)), np.array(noise(seed=5, truncation=1.0))
    near = np.abs(free) <= 1
    assert near.any()
    assert not near.all()
    np.testing.assert_array_equal(free[near], bound[near])


# --- labels ------------------------------------------------------------------------------------


def test_a_label_is_its_place_in_the_list() -> None:
    drawn = draw(spec=LABELLED, label="dog", n=3)
    assert drawn.tensors["label"].tolist() == [1, 1, 1]
    assert drawn.tensors["label"].dtype == np.int64
    assert drawn.context["labels"] == ["dog"] * 3


def test_without_a_label_each_row_draws_one_from_its_seed() -> None:
    labels = draw(spec=LABELLED, seed=0, n=60).context["labels"]
    assert set(labels) == {"cat", "dog", "eel"}
    assert draw(spec=LABELLED, seed=0, n=60).context["labels"] == labels


def test_an_unknown_label_is_refused_with_those_there_are() -> None:
    words = r"label: expected one of \['cat', 'dog', 'eel'\]; got 'fox'"
    with pytest.raises(ItemMismatch, match=words) as caught:
        draw(spec=LABELLED, label="fox")
    assert caught.value.field == "label"
    with pytest.raises(ItemMismatch, match=words):
        draw({"label": "fox"}, spec=LABELLED)


def test_a_label_for_a_model_without_any_is_refused() -> None:
    with pytest.raises(ItemMismatch, match="label: expected no label"):
        draw(label="cat")


def test_a_model_without_labels_has_no_tensor_for_one() -> None:
    assert list(draw(seed=1).tensors) == ["noise"]
    assert draw(seed=1).context == {"seeds": [1]}


# --- attributes --------------------------------------------------------------------------------


def test_attributes_are_places_in_their_lists_a_row_for_each_picture() -> None:
    drawn = draw({"hair": "dark_red"}, FACES, eyewear="glasses", n=2, seed=3)
    assert drawn.tensors["attributes"].tolist() == [[1, 1], [1, 1]]
    assert drawn.tensors["attributes"].dtype == np.int64
    assert drawn.context["attributes"] == [{"hair": "dark_red", "eyewear": "glasses"}] * 2


def test_what_is_not_asked_for_is_drawn_from_the_seed_whatever_else_is() -> None:
    free = draw(spec=FACES, seed=0, n=60).context["attributes"]
    assert {(face["hair"], face["eyewear"]) for face in free} == {
        (hair, eyewear) for hair in HAIR.values for eyewear in EYEWEAR.values
    }
    bound = draw(spec=FACES, seed=0, n=60, hair="brown").context["attributes"]
    assert [face["eyewear"] for face in bound] == [face["eyewear"] for face in free]
    assert {face["hair"] for face in bound} == {"brown"}


def test_an_attribute_of_the_item_wins_over_the_same_one_of_all_items() -> None:
    drawn = draw({"hair": "brown"}, FACES, hair="none", eyewear="none", seed=1)
    assert drawn.context["attributes"] == [{"hair": "brown", "eyewear": "none"}]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"hair": "green"}, r"item\.hair: .*'brown', 'dark_red' or 'none'; got 'green'"),
        ({"hair": 1}, r"item\.hair: .*; got 1"),
        ({"skin": "pale"}, r"item\.skin: "),
        ({"label": "cat"}, r"label: expected no label"),
        ([], r'expected \{\} or \{"hair", "eyewear", "seed", "n"\}; got a list of 0'),
    ],
)
def test_an_attribute_that_there_is_not_is_refused(item: object, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        draw(item, FACES)


@pytest.mark.parametrize("name", ["seed", "hair", "copy", "Hair", "hair colour", "_hair", ""])
def test_an_attribute_needs_a_name_that_can_be_a_field(name: str) -> None:
    with pytest.raises(ValidationError):
        NoneInput(noise_size=1, attributes=(HAIR, Attribute(name=name, values=("a", "b"))))


@pytest.mark.parametrize(
    ("prompt", "wish"),
    [
        ("", {}),
        ("  ", {}),
        ("glasses", {"eyewear": "glasses"}),
        ("Glasses, brown hair", {"eyewear": "glasses", "hair": "brown"}),
        ("dark red hair and sunglasses", {"eyewear": "sunglasses", "hair": "dark_red"}),
        ("hair: dark_red; eyewear=none", {"eyewear": "none", "hair": "dark_red"}),
        ("no eyewear, without hair", {"eyewear": "none", "hair": "none"}),
        ("brown, brown hair,", {"hair": "brown"}),
    ],
)
def test_a_prompt_names_attributes(prompt: str, wish: dict[str, str]) -> None:
    assert FACES.read_prompt(prompt) == wish


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (
            "a king",
            r"some of these apart by commas: hair: brown, dark_red, none; eyewear: .*'a king'",
        ),
        ("none", r"expected the name of one of \['hair', 'eyewear'\] too; got 'none'"),
        ("brown, dark red", "expected one hair; got 'brown' and 'dark_red'"),
        ("no", "got 'no'"),
    ],
)
def test_a_prompt_that_names_none_or_two_is_refused(prompt: str, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words) as caught:
        FACES.read_prompt(prompt)
    assert caught.value.field == "prompt"


def test_the_prompt_of_a_model_with_labels_is_one_of_them() -> None:
    assert LABELLED.read_prompt("dog") == {"label": "dog"}
    with pytest.raises(ItemMismatch, match=r"expected one of \['cat', 'dog', 'eel'\] or nothing"):
        LABELLED.read_prompt("dog, cat")
    with pytest.raises(ItemMismatch, match="expected none or nothing; got 'dog'"):
        PLAIN.read_prompt("dog")


# --- the item and the parameters ---------------------------------------------------------------


def test_a_field_of_the_item_wins_over_the_parameters() -> None:
    drawn = draw({"label": "eel", "seed": 9}, spec=LABELLED, label="cat", seed=1, n=2)
    assert drawn.context == {"seeds": [9, 10], "labels": ["eel", "eel"]}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"seed": -1}, r"item\.seed: .*; got -1"),
        ({"seed": 2**63}, r"item\.seed: "),
        ({"seed": 1.5}, r"item\.seed: "),
        ({"n": 0}, r"item\.n: .*; got 0"),
        ({"n": 1025}, r"item\.n: "),
        ({"label": 3}, r"item\.label: .*; got 3"),
        ({"truncation": 0}, r"item\.truncation: "),
        ({"truncation": float("nan")}, r"item\.truncation: "),
        ({"colour": "red"}, r"item\.colour: "),
        ([], r"expected \{\} or .*; got a list of 0"),
        (None, r"got None"),
        ("", r"got ''"),
        (5, r"got 5"),
    ],
)
def test_what_is_no_wish_is_refused(item: object, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        LABELLED.encoder(Path())(item, NoneParameters())


def test_the_largest_seed_is_taken_and_none_beyond() -> None:
    assert draw(seed=MAX_SEED).context["seeds"] == [MAX_SEED]
    with pytest.raises(ItemMismatch, match="seed: expected seed"):
        draw(seed=MAX_SEED, n=2)
