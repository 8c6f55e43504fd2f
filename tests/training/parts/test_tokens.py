"""A tokenizer of bytes: whatever goes in comes out. One of words: the same in each run."""

from collections.abc import Callable
from typing import Any

import pytest

from training.parts.tokens import END, learn_byte_tokenizer, learn_tokenizer

TEXT = "In the beginning God created the heaven and the earth.\n  'Tis true,\t'tis pity.\n\n" * 20


@pytest.mark.parametrize(
    "text",
    [TEXT, "", " ", "  two  blanks ", "naïve façade", "日本語 🙂", "\x00\x7f", "UPPER lower"],
)
def test_text_comes_out_as_it_went_in(text: str) -> None:
    tokenizer = learn_byte_tokenizer([TEXT], 300)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_frequent_bytes_are_one_token() -> None:
    tokenizer = learn_byte_tokenizer([TEXT], 400)
    assert len(tokenizer.encode(" the earth").ids) <= 3
    assert tokenizer.get_vocab_size() <= 400


def test_the_end_is_token_zero_and_is_not_said() -> None:
    tokenizer = learn_byte_tokenizer([TEXT], 300)
    assert tokenizer.token_to_id(END) == 0
    assert tokenizer.decode([0, *tokenizer.encode("a").ids, 0]) == "a"


@pytest.mark.parametrize("learn", [learn_tokenizer, learn_byte_tokenizer])
def test_same_text_teaches_the_same_tokens_each_time(learn: Callable[..., Any]) -> None:
    """Weights are for these very tokens: a run that is resumed learns them anew."""
    first, *others = (learn([TEXT, TEXT[::-1]], 400).to_str() for _ in range(4))
    assert others == [first] * 3


def test_frequent_words_are_whole_and_begin_with_a_mark() -> None:
    tokenizer = learn_tokenizer([TEXT], 400)
    assert tokenizer.encode("The EARTH, pity").tokens[:2] == ["▁the", "▁earth"]
