import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from model_store.errors import ItemError, ItemMismatch, ItemTooLarge
from model_store.inputs.text import TextInput, TextParameters
from model_store.spec import Encoded

SPEC = TextInput(max_tokens=12, max_characters=200)
CUT = TextParameters(truncate=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a byte-level tokenizer, so that any text has tokens of its own."""
    folder = tmp_path_factory.mktemp("bundle")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 5, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def encode(
    item: object, folder: Path, parameters: TextParameters | None = None, spec: TextInput = SPEC
) -> Encoded:
    return spec.encoder(folder)(item, parameters or TextParameters())


def test_a_text_is_its_tokens_and_a_mask_of_ones(folder: Path) -> None:
    tensors = encode("the quick fox", folder).tensors
    expected = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("the quick fox").ids
    assert tensors["tokens"].tolist() == [expected]
    assert tensors["mask"].tolist() == [[1] * len(expected)]
    assert tensors["tokens"].dtype == tensors["mask"].dtype == np.int64


def test_the_manifest_names_the_tensors(folder: Path) -> None:
    spec = TextInput(max_tokens=9, tokens="ids", mask="attention")
    assert list(encode("fox", folder, spec=spec).tensors) == ["ids", "attention"]


def test_an_empty_text_is_refused(folder: Path) -> None:
    with pytest.raises(ItemMismatch, match="expected text with a word in it; got ''"):
        encode("", folder)


def test_a_text_of_exactly_the_limit_passes_and_one_more_token_does_not(folder: Path) -> None:
    assert encode("~" * 12, folder).tensors["tokens"].shape == (1, 12)
    with pytest.raises(ItemTooLarge, match=r"at most 12 tokens; got 13 .*truncate: true"):
        encode("~" * 13, folder)


def test_truncate_cuts_what_is_too_long_and_leaves_the_rest_alone(folder: Path) -> None:
    whole = encode("~!" * 6, folder).tensors["tokens"]
    cut = encode("~!" * 90, folder, CUT).tensors
    np.testing.assert_array_equal(cut["tokens"], whole)
    assert cut["mask"].shape == whole.shape
    assert encode("~", folder, CUT).tensors["tokens"].shape == (1, 1)


def test_what_a_tokenizer_sets_around_a_text_survives_the_cut(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<": 0, ">": 1, "a": 2, "b": 3}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="< $A >", special_tokens=[("<", 0), (">", 1)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    spec = TextInput(max_tokens=5)
    assert encode("a b a", tmp_path, CUT, spec).tensors["tokens"].tolist() == [[0, 2, 3, 2, 1]]
    assert encode("a b b a", tmp_path, CUT, spec).tensors["tokens"].tolist() == [[0, 2, 3, 3, 1]]


def test_too_many_characters_are_refused_with_their_number(folder: Path) -> None:
    with pytest.raises(ItemTooLarge, match="at most 200 characters; got 201"):
        encode("x" * 201, folder)


@pytest.mark.parametrize("parameters", [TextParameters(), CUT])
def test_five_megabytes_cost_no_time_refused_or_cut(
    folder: Path, parameters: TextParameters
) -> None:
    text = "the quick " * 500_000
    run = TextInput(max_tokens=12).encoder(folder)
    started = time.monotonic()
    try:
        assert run(text, parameters).tensors["tokens"].shape == (1, 12)
        assert parameters.truncate
    except ItemTooLarge:
        assert not parameters.truncate
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "fox \ud83d"])
def test_half_a_surrogate_pair_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(ItemMismatch, match="half of a surrogate pair"):
        encode(text, folder)


@pytest.mark.parametrize("item", [None, 7, ["a"], {"text": "a"}, b"bytes", True])
def test_what_is_no_string_is_refused(folder: Path, item: object) -> None:
    with pytest.raises(ItemMismatch, match="expected a string; got"):
        encode(item, folder)


def test_a_body_is_one_text_in_utf_8() -> None:
    assert SPEC.items("grüß dich\n数".encode(), "text/plain") == ["grüß dich\n数"]
    with pytest.raises(ItemMismatch, match="expected UTF-8 text; got byte 2"):
        SPEC.items(b"ab\xff", "text/plain")


@given(st.text(max_size=300), st.booleans())
def test_any_text_gives_whole_numbers_in_one_row_or_is_refused(
    folder: Path, text: str, truncate: bool
) -> None:
    try:
        tensors = encode(text, folder, TextParameters(truncate=truncate)).tensors
    except ItemError:
        return
    tokens, mask = tensors["tokens"], tensors["mask"]
    assert tokens.shape == mask.shape
    assert tokens.shape[0] == 1
    assert 1 <= tokens.shape[1] <= SPEC.max_tokens
    assert (mask == 1).all()
    assert tokens.min() >= 0
