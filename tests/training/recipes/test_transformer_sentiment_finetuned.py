"""What is special to ``transformer_sentiment_finetuned``; the contract is tested elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed

from training.recipes import transformer_sentiment
from training.recipes.transformer_sentiment import TransformerSentiment
from training.recipes.transformer_sentiment_finetuned import (
    LENGTHS,
    MAX_TOKENS,
    NETWORK,
    FinetuningConfig,
    TransformerSentimentFinetuned,
)


def recipe(**settings: int | bool) -> TransformerSentimentFinetuned:
    few = {"epochs": 1, "learning_rate": 1e-4, "max_texts": 80, "batch_size": 8}
    return TransformerSentimentFinetuned(FinetuningConfig.model_validate({**few, **settings}))


def test_split_is_that_of_the_recipe_from_scratch() -> None:
    ours = recipe(max_texts=20_000)
    ours.load(None)
    theirs = TransformerSentiment(
        transformer_sentiment.SentimentConfig(epochs=1, learning_rate=1e-3)
    )
    theirs.load(None)

    assert ours.texts == theirs.texts
    for part in ("train", "validation", "test"):
        assert getattr(ours, part).tolist() == getattr(theirs, part).tolist()


def test_fewer_texts_are_a_sample_of_each_part() -> None:
    small = recipe()
    small.load(None)

    assert [len(part) for part in (small.train, small.validation, small.test)] == [58, 6, 16]
    assert 0 < small.labels[small.train].mean() < 1


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_step_moves_the_pretrained_layers_too(bfloat16: bool) -> None:
    tuned = recipe(bfloat16=bfloat16)
    tuned.load(None)
    set_seed(0)
    networks = tuned.build(0)
    weights = networks[NETWORK].get_parameter("encoder.bert.encoder.layer.0.output.dense.weight")
    before = weights.detach().clone()
    [(_, loss)] = tuned.step(networks, next(iter(tuned.batches(0, 0))))
    loss.backward()  # type: ignore[no-untyped-call]
    tuned.optimizers(networks)[NETWORK].step()

    assert loss.dtype == weights.dtype == torch.float32
    assert 0.4 < loss.item() < 1.2
    assert not torch.equal(before, weights)


def test_own_texts_longer_than_it_reads_leave_room_to_check_the_padding(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["text,label"]
    for place in range(44):
        word, label = [("superb", "good"), ("dreadful", "bad")][place % 2]
        filler = " ".join(rng.choice(["film", "plot", "actor", "scene"], 200))
        lines.append(f"{word} {filler} {place},{label}")
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines) + "\n")
    own = recipe()
    own.load(path)
    graph = own.package(own.build(0), tmp_path).graphs["model"]

    assert {len(ids) for ids in own.ids} == {MAX_TOKENS}
    assert graph.batching.max_rows == 44, "fewer texts than a full batch has rows"
    tokens = graph.sample(44)["tokens"]
    assert tokens.shape == (44, LENGTHS[-2])
    assert len({tuple(row) for row in tokens.tolist()}) == 44
