"""What is special to ``transformer_sentiment``; the contract of all recipes is tested elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from training.errors import BadConfig
from training.parts.encoder import Encoder
from training.parts.tokens import pad
from training.recipes.transformer_sentiment import (
    NETWORK,
    SentimentConfig,
    TransformerSentiment,
)


def config(**settings: int | float) -> SentimentConfig:
    small = {"epochs": 1, "learning_rate": 1e-3, "width": 8, "vocabulary": 300, "batch_size": 16}
    return SentimentConfig.model_validate({**small, **settings})


def loaded(data: Path, **settings: int | float) -> TransformerSentiment:
    recipe = TransformerSentiment(config(**settings))
    recipe.load(data)
    return recipe


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Texts whose label one word decides."""
    rng = np.random.default_rng(0)
    lines = ["text,label"]
    for place in range(300):
        filler = " ".join(rng.choice(["film", "plot", "actor", "scene"], rng.integers(1, 12)))
        word, label = ("superb", "good") if place % 2 else ("dreadful", "bad")
        lines.append(f"{filler} {word} {place},{label}")
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(50, width=8, layers=2, heads=2, dropout=0.3, bag_dropout=0.5).eval()


def test_padding_does_not_change_a_text() -> None:
    tokens, mask = pad([[5, 6, 7], [8, 9, 10, 11, 12, 13]])
    alone, _ = pad([[5, 6, 7]])

    together = encoder()(tokens, mask)[:1]
    assert torch.allclose(together, encoder()(alone, torch.ones_like(alone)), atol=1e-6)


def test_attention_tells_orders_apart_where_the_bag_does_not() -> None:
    tokens = torch.tensor([[5, 6, 7], [7, 5, 6]])
    layers, bag = encoder()(tokens, torch.ones_like(tokens)).chunk(2, dim=1)

    assert torch.allclose(bag[0], bag[1], atol=1e-6)
    assert not torch.allclose(layers[0], layers[1], atol=1e-4)


def test_parts_share_no_text_and_hold_each_label_in_its_share(data: Path) -> None:
    recipe = loaded(data)
    parts = (recipe.train, recipe.validation, recipe.test)

    assert sorted(np.concatenate(parts)) == list(range(300))
    assert [len(part) for part in parts] == [216, 24, 60]
    assert all(recipe.labels[part].mean() == 0.5 for part in parts)


def test_an_epoch_shows_each_text_once_and_the_next_another_order(data: Path) -> None:
    recipe = loaded(data)
    first, again, second = (list(recipe.batches(0, epoch)) for epoch in (0, 0, 1))

    def texts(batches: Sequence[tuple[torch.Tensor, ...]]) -> list[list[int]]:
        return sorted(row[row > 0].tolist() for tokens, *_ in batches for row in tokens)

    assert len(first) == recipe.steps(0)
    assert torch.equal(first[0][0], again[0][0])
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=False))
    assert texts(first) == texts(second) == sorted(recipe.lesson)


def test_before_any_step_it_already_knows_what_naive_bayes_does(data: Path) -> None:
    recipe = loaded(data, prior=30)
    network = recipe.build(0)[NETWORK].eval()
    with torch.no_grad():
        guess = recipe._log_probabilities(network, recipe.test).argmax(1).numpy()

    assert (guess == recipe.labels[recipe.test]).all()


def test_saved_tokenizer_gives_the_tokens_that_were_learned_from(
    data: Path, tmp_path: Path
) -> None:
    recipe = loaded(data)
    recipe.package({NETWORK: recipe.build(0)[NETWORK].eval()}, tmp_path)
    saved = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

    assert [saved.encode(text).ids for text in recipe.texts] == recipe.ids


def test_served_members_are_averaged_into_probabilities(data: Path, tmp_path: Path) -> None:
    recipe = loaded(data, members=2)
    package = recipe.package({NETWORK: recipe.build(0)[NETWORK].eval()}, tmp_path)
    graph = package.graphs["model"]
    with torch.no_grad():
        probabilities, embedding = graph.module(*graph.sample(3).values())

    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    assert embedding.shape == (3, package.verbs["embed"].answer.model_dump()["size"])


def test_width_that_heads_cannot_share_is_refused(data: Path) -> None:
    with pytest.raises(BadConfig, match=r"multiple of twice --heads \(6\); got 8"):
        loaded(data, heads=3)
