"""What recipes that write share: windows, losses and scores, on a user's own small books."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.data.books import Book
from training.errors import DataError
from training.parts.writing import NETWORK, per_byte
from training.recipes.transformer_writer import TransformerWriter, TransformerWriterConfig

SETTINGS = {"epochs": 1, "learning_rate": 1e-3, "width": 32, "heads": 2, "layers": 1}
SMALL = {"vocabulary": 300, "context": 32, "batch_size": 4, "laps": 2, "bfloat16": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two books of random letters: nothing to learn, nothing repeated."""
    folder, rng = tmp_path_factory.mktemp("books"), np.random.default_rng(0)
    for name in ("one", "two"):
        letters = rng.choice(list("abcdef \n"), 15_000)
        (folder / f"{name}.txt").write_text("".join(letters))
    return folder


def writer(folder: Path, **settings: object) -> TransformerWriter:
    recipe = TransformerWriter(TransformerWriterConfig.model_validate(SETTINGS | SMALL | settings))
    recipe.load(folder)
    return recipe


def test_a_pass_shows_each_window_once_in_as_many_epochs_as_it_has_laps(folder: Path) -> None:
    recipe = writer(folder)
    windows = [row for epoch in range(2) for batch in recipe.batches(0, epoch) for row in batch]
    text = recipe.stream.tolist()
    starts = sorted(_places(text, window.tolist()) for window in windows)
    assert len(starts) == 2 * (recipe._windows // 2)
    assert set(np.diff(starts)) <= {32, 64}, "one may be left over"
    following = next(iter(recipe.batches(0, 2)))
    assert (_places(text, following[0].tolist()) - starts[0]) % 32 != 0, "another start"


def _places(text: list[int], window: list[int]) -> int:
    [place] = [at for at in range(len(text)) if text[at : at + len(window)] == window]
    return place


def test_each_token_is_told_once_with_at_least_so_many_before_it(folder: Path) -> None:
    recipe = writer(folder)
    network = recipe.build(0)[NETWORK].eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = np.array(recipe.tokenizer.encode(recipe.library.test[0].text).ids[:75])
    with torch.no_grad():
        losses = recipe._losses(network, tokens, stride=16)
        for place in (0, 5, 31, 32, 47, 48, 74):
            start = 0 if place < 32 else (place - 32) // 16 * 16 + 16
            known = torch.tensor([[recipe.end, *tokens[start:place]]])
            alone = F.cross_entropy(network(known)[0, -1], torch.tensor(tokens[place]))
            assert losses[place] == pytest.approx(float(alone), abs=1e-4)


def test_random_letters_cost_what_they_hold(folder: Path) -> None:
    """Eight letters are three bits each; no table and no network can know better."""
    recipe = writer(folder)
    scores = recipe.evaluate([{NETWORK: recipe.build(0)[NETWORK].eval().requires_grad_(False)}])
    for values in scores.baselines.values():
        assert 2.95 < values["bits_per_byte"] < 3.6
    assert scores.metrics["bits_per_byte"] > 2.95
    assert scores.samples.count("From ") == 4


def test_collections_are_scored_apart() -> None:
    test = [Book("A b", "x", "aaaa"), Book("A b", "y", "aa"), Book("C", "z", "éé")]
    assert per_byte(test, [6.0, 0.0, 4.0]) == {
        "bits_per_byte": 1.0,
        "bits_per_byte_a_b": 1.0,
        "bits_per_byte_c": 1.0,
    }
    assert per_byte(test[:2], [6.0, 6.0]) == {"bits_per_byte": 2.0}


def test_a_text_of_too_few_windows_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"expected 8 windows of 4096 tokens to learn from; got"):
        writer(folder, context=4096)
