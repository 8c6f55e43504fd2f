"""Texts as tokens for training: learning a tokenizer, batches of like length, padding. No model."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from model_store.answers.text import TextAnswer
from model_store.bundle import Bundle
from model_store.inputs.text import TextInput
from model_store.manifest import VerbName
from training.errors import DataError

PAD, UNKNOWN = "[PAD]", "[UNK]"
END = "<|endoftext|>"
BUCKET_BATCHES = 16
"""Batches are cut from so many batches' texts in order of length: padding costs like words."""


def kept_tokenizer(bundle: Bundle, verb: VerbName, *, answer: bool = False) -> Any:
    """What a published model reads its input with, or says its answer by. Raises DataError."""
    found = bundle.manifest.verbs[verb]
    kind = found.answer if answer else found.input
    if not isinstance(kind, TextInput | TextAnswer):
        raise DataError(f"{bundle.manifest.name}: expected a tokenizer; {verb} takes {kind.kind}")
    return Tokenizer.from_file(str(bundle.path(kind.tokenizer)))


def learn_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Frequent words whole, rare ones in pieces (byte pair encoding); case and accents dropped.

    A word's first piece has a mark before it. Marks on the others, as BERT has them, would be
    learned in the order of a hash table, which is another one in each process.
    """
    texts = list(texts)
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def by_length(
    lengths: Sequence[int], batch_size: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Rows of each batch of an epoch, at random but for texts of like length sharing a batch."""
    order, window_rows = rng.permutation(len(lengths)).tolist(), batch_size * BUCKET_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(order), window_rows):
        window = sorted(order[start : start + window_rows], key=lambda row: lengths[row])
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    for place in rng.permutation(len(batches)):
        yield batches[place]


def pad(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Tokens and mask, int64 ``[B, T]`` of the longest; zeros beyond each text's end."""
    mask = np.arange(max(map(len, ids))) < np.array([[len(row)] for row in ids])
    tokens = np.zeros(mask.shape, dtype=np.int64)
    tokens[mask] = np.concatenate(ids)
    return torch.from_numpy(tokens), torch.from_numpy(mask.astype(np.int64))


def learn_byte_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Frequent bytes together (byte pair encoding): any text in, exactly the same text out.

    :data:`END` is the token that no text has. It comes first.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
