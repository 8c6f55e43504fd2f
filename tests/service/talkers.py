"""Tiny bundles for the protocols that deal in text: one that says the alphabet, one that embeds.

Both can be worked out on paper: after each letter comes the next one, and a text's vector counts
its letters.
"""

from pathlib import Path

import numpy as np
from onnx import helper
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from model_store.answers.text import TextAnswer
from model_store.answers.vector import VectorAnswer
from model_store.decoding import Decoding
from model_store.inputs.text import TextInput
from model_store.manifest import Batching, Draft, Tensor, Verb
from tests.service.by_hand import constant, draft_of, save

LETTERS = "abcdefghijklmnopqrstuvwxyz"
UNKNOWN, END = len(LETTERS), len(LETTERS) + 1
VOCABULARY = {letter: place for place, letter in enumerate([*LETTERS, "?", "."])}
CONTEXT = 50_000
"""So long that a text is still being said when a test looks."""
SURE = 8.0
"""The logit of what comes next; all else is below 1."""


def alphabet(folder: Path) -> Draft:
    """Text → the letters that come after its last one, over and over; after ``?`` comes the end.
    Its state is how much it has read and said.
    """
    inputs = (
        Tensor(name="tokens", dtype="int64", shape=("N", "T")),
        Tensor(name="past", dtype="float32", shape=("N", 1)),
    )
    outputs = (
        Tensor(name="logits", dtype="float32", shape=("N", "T", len(VOCABULARY))),
        Tensor(name="present", dtype="float32", shape=("N", 1)),
    )
    likely = np.random.default_rng(0).random((len(VOCABULARY), len(VOCABULARY)))
    for place in range(len(LETTERS)):
        likely[place, (place + 1) % len(LETTERS)] = SURE
    likely[[UNKNOWN, END], END] = SURE
    nodes = [
        helper.make_node("Gather", ["likely", "tokens"], ["logits"]),
        helper.make_node("Shape", ["tokens"], ["length"], start=1, end=2),
        helper.make_node("Cast", ["length"], ["read"], to=1),
        helper.make_node("Add", ["past", "read"], ["present"]),
    ]
    graph = save(folder, nodes, inputs, outputs, [constant("likely", likely)])
    decoding = Decoding(form="state", cache={"past": "present"}, context=CONTEXT, end=(END,))
    _spelling().save(str(folder / "tokenizer.json"))
    verb = Verb(input=TextInput(mask=None), answer=TextAnswer(), example="abc")
    return draft_of(
        {"model": graph.model_copy(update={"decoding": decoding})},
        {"generate": verb},
        family="rnn",
        category="text",
        task="writing",
        description="Says the alphabet.",
    )


def letters(folder: Path) -> Draft:
    """Text → how often each letter is in it."""
    inputs = (
        Tensor(name="tokens", dtype="int64", shape=("N", "T")),
        Tensor(name="mask", dtype="int64", shape=("N", "T")),
    )
    outputs = (Tensor(name="embedding", dtype="float32", shape=("N", len(VOCABULARY))),)
    nodes = [
        helper.make_node("Gather", ["own", "tokens"], ["each"]),
        helper.make_node("Cast", ["mask"], ["real"], to=1),
        helper.make_node("Unsqueeze", ["real", "last"], ["column"]),
        helper.make_node("Mul", ["each", "column"], ["heard"]),
        helper.make_node("ReduceSum", ["heard", "second"], ["embedding"], keepdims=0),
    ]
    constants = [
        constant("own", np.eye(len(VOCABULARY))),
        constant("last", [2], "int64"),
        constant("second", [1], "int64"),
    ]
    batching = Batching(max_rows=8, pad={"T": (8, 32)})
    graph = save(folder, nodes, inputs, outputs, constants, batching=batching)
    _spelling().save(str(folder / "tokenizer.json"))
    verb = Verb(
        input=TextInput(max_tokens=32), answer=VectorAnswer(size=len(VOCABULARY)), example="abc"
    )
    return draft_of(
        {"model": graph},
        {"embed": verb},
        family="transformer",
        category="text",
        task="letters",
        description="Counts letters.",
    )


def _spelling() -> Tokenizer:
    """A letter is a token; all that is no letter is ``?``."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="?"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def after(prompt: str, count: int) -> str:
    """What ``alphabet`` most likely says next."""
    start = LETTERS.index(prompt[-1]) + 1
    return "".join(LETTERS[(start + place) % len(LETTERS)] for place in range(count))
