"""What recipes that translate share: pairs of sentences, their tokenizers, scores and samples. Such
a recipe adds its network and its graphs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from sacrebleu import corpus_bleu, corpus_chrf
from torch import Tensor

from model_store.manifest import Verb
from training.data import parallel, verses
from training.data.pairs import Pair
from training.parts.kindred import kindred
from training.parts.saying_anew import NETWORK, SayingAnew, SayingConfig, samples_table
from training.parts.tokens import learn_byte_tokenizer
from training.parts.word_for_word import WordForWord
from training.recipe import Evaluation, Networks

TOKENIZER = "tokenizer.json"
SHOWN = 12


class TranslatingConfig(SayingConfig):
    """Settings of sentences: more and longer than words have."""

    vocabulary: int = Field(default=4000, ge=300, lt=65536, description="tokens of both languages")
    max_source: int = Field(default=96, ge=4, description="tokens of the longest source")
    context: int = Field(default=96, ge=8, description="tokens of the longest answer")
    smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="of the wanted probabilities, spread over all tokens"
    )
    bfloat16: bool = Field(default=True, description="multiply in bfloat16 while learning")
    beams: int = Field(default=4, ge=1, le=16, description="answers searched side by side")


T = TypeVar("T", bound=TranslatingConfig)


class Translating(SayingAnew[T]):
    """A recipe that says in one language what is said in another. With other data, of other
    languages, ``--describe`` tells which.
    """

    task = "translation"
    padded = (16, 32, 64)
    data_formats = parallel.FORMATS
    smoke: ClassVar[Mapping[str, Any]] = {
        "epochs": 1, "pairs": 300, "width": 32, "heads": 2, "layers": 1, "vocabulary": 1000,
        "beams": 1,
    }  # fmt: skip

    def load(self, data: Path | None) -> None:
        if data is None:
            self.data_source, self.data_license = verses.SOURCE, verses.LICENSE
            self.note = f"Held out are {', '.join(verses.TEST)}."
            self.take(verses.bibles())
        else:
            self.data_source, self.data_license = str(data), "the user's own"
            read = parallel.own(data)
            self.note = read.note
            self.take(read.parts)

    def learn_tokenizers(self, train: Sequence[Pair]) -> None:
        """One for both languages: names and what is alike are one token (arXiv 1508.07909)."""
        texts = [text for pair in train for text in (pair.source, pair.targets[0])]
        self.source_tokenizer = learn_byte_tokenizer(texts, self.config.vocabulary)
        self.target_tokenizer = self.source_tokenizer

    def vectors(self) -> Tensor:
        """Of the tokens, to begin with: float32 ``[V, D]``."""
        size = self.source_tokenizer.get_vocab_size()
        return torch.from_numpy(kindred(self.lesson, size, self.config.width))

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        test = self.parts.test
        sources = [pair.source for pair in test]
        said = self.say(fitted[-1][NETWORK], sources, self.config.beams)
        known = [*self.parts.train, *self.parts.validation]
        table = WordForWord([p.source for p in known], [p.targets[0] for p in known])
        description = (
            f"{len(test):,} held-out pairs; learned from {len(self.lesson):,}, stopped by"
            f" {len(self.checks):,}. {self.note} {self.config.beams} beams. sacrebleu's BLEU and"
            " chrF, case and punctuation counting. Word for word: each word by the likeliest of IBM"
            " model 1, in its place."
        )
        header = {"source": "source", "right": "reference", "said": "this model"}
        step = max(1, len(test) // SHOWN)
        return Evaluation(
            scores(test, said),
            {
                "word_for_word": scores(test, [table.say(text) for text in sources]),
                "source_as_it_is": scores(test, sources),
            },
            description,
            samples=samples_table(test[::step][:SHOWN], said[::step][:SHOWN], header),
        )

    def verb(self, folder: Path) -> Verb:
        """``generate``; writes the tokenizer of both sides."""
        self.source_tokenizer.save(str(folder / TOKENIZER))
        # Short enough whatever the settings: of those that are checked, the shortest.
        ids, _ = min(self.checks, key=lambda pair: len(pair[0]))
        return self.generate(TOKENIZER, TOKENIZER, self.source_tokenizer.decode(ids))


def scores(test: Sequence[Pair], said: Sequence[str]) -> dict[str, float]:
    """chrF (Popović 2015) and BLEU (Papineni et al. 2002), of 100, of all and of each group where
    there are several.
    """
    metrics = _scores([pair.targets[0] for pair in test], said)
    groups = dict.fromkeys(pair.group for pair in test)
    for group in groups if len(groups) > 1 else ():
        mine = [place for place, pair in enumerate(test) if pair.group == group]
        found = _scores([test[n].targets[0] for n in mine], [said[n] for n in mine])
        name = group.lower().replace(" ", "_")
        metrics |= {f"{metric}_{name}": value for metric, value in found.items()}
    return metrics


def _scores(truth: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    return {
        "chrf": float(corpus_chrf(list(said), [list(truth)]).score),
        "bleu": float(corpus_bleu(list(said), [list(truth)]).score),
    }
