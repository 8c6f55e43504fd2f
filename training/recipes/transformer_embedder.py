"""Sentences as vectors, by MiniLM as it was published: like meanings, like vectors.

Nothing is learned here, so the score asks what the vectors are worth to someone with a handful of
examples: each label is the mean of a few texts, and other texts get the label of the nearest mean.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.answers.vector import VectorAnswer
from model_store.inputs.text import TextInput, cut
from model_store.manifest import Batching, Category, Family, Verb
from model_store.spec import Array
from training.data import minilm, snippets
from training.errors import DataError
from training.parts.labelled_texts import WORDS
from training.parts.sentences import embed, pretrained
from training.parts.tokens import pad
from training.recipe import (
    MAIN_GRAPH,
    Evaluation,
    GraphExport,
    Networks,
    OneShot,
    Package,
    Settings,
)

NETWORK = "encoder"
MAX_TOKENS = 256
"""As sentence-transformers has it for this model; the table of positions ends at 512."""
LENGTHS = (16, 32, 64, 128, MAX_TOKENS)
MAX_ROWS = 32


class EmbedderConfig(Settings):
    """Settings of the score; the model has none."""

    shots: int = Field(default=8, ge=1, description="texts that stand for a label in the score")
    draws: int = Field(default=50, ge=1, description="times that they are drawn anew")
    texts_per_label: int = Field(
        default=400, ge=4, description="texts of each label that the score looks at, at most"
    )
    text_column: str = Field(default="text", description="own data: column of the texts")
    label_column: str = Field(default="label", description="own data: column of the labels")


class Served(nn.Module):
    """Token ids → a vector of length one, so that a dot product is the cosine."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self.encoder(tokens, mask), dim=1)


class TransformerEmbedder(OneShot[EmbedderConfig]):
    """Text → vector."""

    family: ClassVar[Family] = "transformer"
    category: ClassVar[Category] = "text"
    task = "text-embedding"
    description = "Turns an English sentence into a vector: near where the meanings are near."
    data_formats = (
        "a CSV file of texts and their labels to try the vectors on (--text-column,"
        " --label-column); nothing is learned from it"
    )
    profiles: ClassVar[Mapping[str, Settings]] = {
        "quick": EmbedderConfig(),
        "full": EmbedderConfig(draws=200, texts_per_label=2000),
    }
    smoke: ClassVar[Mapping[str, Any]] = {"draws": 4, "texts_per_label": 20}
    weights = minilm.SOURCE
    weights_license = minilm.LICENSE

    def load(self, data: Path | None) -> None:
        settings = self.config
        if data:
            texts = snippets.own(data, settings.text_column, settings.label_column)
            self.data_source, self.data_license = f"{data} (for the score alone)", "the user's own"
        else:
            texts = snippets.kinds()
            self.data_source = f"{snippets.SOURCE_OF_ALL} (for the score alone)"
            self.data_license = snippets.LICENSE
        self.files = minilm.read()
        rng = np.random.default_rng(settings.seed)
        chosen = np.concatenate(
            [
                rng.permutation(np.flatnonzero(texts.labels == label))[: settings.texts_per_label]
                for label in range(len(texts.label_names))
            ]
        )
        self.texts = [texts.texts[row] for row in rng.permutation(chosen)]
        label_of = dict(zip(texts.texts, texts.labels.tolist(), strict=True))
        self.labels = np.array([label_of[text] for text in self.texts])
        self.names = texts.label_names
        rarest = int(np.bincount(self.labels).min())
        if rarest < 2 * settings.shots:
            raise DataError(
                f"--shots {settings.shots}: expected twice as many texts of each label; the rarest"
                f" has {rarest}"
            )
        encodings = self.files.tokenizer.encode_batch(self.texts)
        self.ids = [cut(encoding, MAX_TOKENS) for encoding in encodings]

    def build(self, fold: int) -> Networks:
        del fold
        return {NETWORK: pretrained(self.files)}

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        from sklearn.feature_extraction.text import TfidfVectorizer

        settings = self.config
        vectors = embed(Served(fitted[-1][NETWORK]), self.ids).numpy()
        # The weights of the words are from all the texts: as much help as a plain method can have.
        words = TfidfVectorizer(sublinear_tf=True, tokenizer=WORDS.findall, token_pattern=None)
        table = words.fit_transform(self.texts).toarray()
        return Evaluation(
            {"few_shot_accuracy": self._few_shot_accuracy(vectors)},
            {"tfidf": {"few_shot_accuracy": self._few_shot_accuracy(table)}},
            f"{settings.shots} texts stand for each of {len(self.names)} labels"
            f" ({', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''}); the others of"
            f" {len(self.texts):,} get the label of the nearest mean. Means over {settings.draws}"
            " draws, each label counting the same.",
        )

    def _few_shot_accuracy(self, vectors: Array) -> float:
        rng = np.random.default_rng(self.config.seed)
        draws = [self._draw(vectors, rng) for _ in range(self.config.draws)]
        return float(np.mean(draws))

    def _draw(self, vectors: Array, rng: np.random.Generator) -> float:
        """Balanced accuracy on the texts that were not drawn."""
        places = [np.flatnonzero(self.labels == label) for label in range(len(self.names))]
        shown = [rng.choice(rows, self.config.shots, replace=False) for rows in places]
        means = np.stack([vectors[rows].mean(0) for rows in shown])  # [K, D]
        means /= np.linalg.norm(means, axis=1, keepdims=True) + 1e-12
        guess = (vectors @ means.T).argmax(1)
        asked = [np.setdiff1d(*pair) for pair in zip(places, shown, strict=True)]
        return float(np.mean([(guess[rows] == k).mean() for k, rows in enumerate(asked)]))

    def package(self, networks: Networks, folder: Path) -> Package:
        self.files.tokenizer.save(str(folder / "tokenizer.json"))
        graph = GraphExport(
            Served(networks[NETWORK]),
            self._sample,
            ["embedding"],
            axes={"tokens": {1: "time"}, "mask": {1: "time"}},
            batching=Batching(max_rows=min(MAX_ROWS, len(self.ids)), pad={"time": LENGTHS}),
        )
        embedding = Verb(
            input=TextInput(max_tokens=MAX_TOKENS),
            answer=VectorAnswer(size=minilm.SIZE),
            example="The pump on the second floor makes a strange noise.",
        )
        return Package({MAIN_GRAPH: graph}, {"embed": embedding})

    def _sample(self, rows: int) -> dict[str, Tensor]:
        # Shorter than the longest length, or there would be no padding to check.
        tokens, mask = pad([ids[: LENGTHS[-2]] for ids in self.ids[:rows]])
        return {"tokens": tokens, "mask": mask}
