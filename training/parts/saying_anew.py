"""What recipes that say a text in another way share: pairs as tokens, the step, the search. Such a
recipe adds its pairs, its tokenizers, its network, its scores and its graphs.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeAlias, TypeVar

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from model_store.answers.text import TextAnswer
from model_store.bundle import Bundle
from model_store.inputs.text import TextInput
from model_store.manifest import Category, Verb
from training.data.pairs import Pair, Parts
from training.errors import DataError
from training.parts.decoder import Shape, check_heads
from training.parts.muon import Muon, MuonConfig
from training.parts.search import search
from training.parts.tokens import END, by_length, kept_tokenizer, pad
from training.recipe import Networks, Recipe

NETWORK = "speaker"
Batch: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""Source and its mask int64 ``[B, S]``, what is said and its mask int64 ``[B, T]``."""
MAX_ROWS = 256
PARITY_TOKENS = 8


class Speaker(Protocol):
    """A network that says anew what it remembers."""

    def remember(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]: ...
    def __call__(self, tokens: Tensor, memory: Sequence[Tensor], mask: Tensor) -> Tensor: ...
    def follow(
        self, tokens: Tensor, past: Sequence[Tensor], memory: Sequence[Tensor], mask: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]: ...


class SayingConfig(MuonConfig):
    """Settings of the network, the search and how much is learned from."""

    width: int = Field(default=128, ge=32, multiple_of=32, description="width of a token's vector")
    layers: int = Field(default=2, ge=1, description="layers that read, and as many that say")
    heads: int = Field(default=4, ge=1, description="attention heads")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="of what each layer adds")
    smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="of the wanted probabilities, spread over all tokens"
    )
    max_source: int = Field(default=48, ge=4, description="tokens of the longest source")
    context: int = Field(default=48, ge=8, description="tokens of the longest answer")
    beams: int = Field(default=1, ge=1, le=16, description="answers searched side by side")
    length_penalty: float = Field(
        default=1.0, ge=0, description="power of the length that a beam's score is divided by"
    )
    bfloat16: bool = Field(default=False, description="multiply in bfloat16 while learning")
    pairs: int = Field(default=0, ge=0, description="learn from so many pairs only; 0: all")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.width, self.heads)
        return self

    @property
    def shape(self) -> Shape:
        return Shape(self.width, self.layers, self.heads, self.context, self.dropout)


S = TypeVar("S", bound=SayingConfig)


class SayingAnew(Recipe[S]):
    """Learns to tell each token of the answer from the source and the tokens before."""

    category: ClassVar[Category] = "text"
    padded: ClassVar[tuple[int, ...]]
    """What sources are padded to, and to the longest."""
    source_tokenizer: Any
    target_tokenizer: Any
    earlier: tuple[Any, Any] | None = None
    """The tokenizers of the version that training starts from."""

    # --- data ----------------------------------------------------------------------------------

    def take_over(self, bundle: Bundle) -> None:
        self.earlier = (
            kept_tokenizer(bundle, "generate"), kept_tokenizer(bundle, "generate", answer=True),
        )  # fmt: skip

    @abstractmethod
    def learn_tokenizers(self, train: Sequence[Pair]) -> None:
        """Set both. :data:`END` is token 0 of both, and what stands in padding."""

    def take(self, parts: Parts) -> None:
        """Called by the recipe's ``load``. Raises DataError."""
        self.parts = parts.cut(self.config.pairs)
        if self.earlier:
            self.source_tokenizer, self.target_tokenizer = self.earlier
        else:
            self.learn_tokenizers(self.parts.train)
        self.end: int = self.target_tokenizer.token_to_id(END)
        self.lesson = self._tokens(self.parts.train)
        self.checks = self._tokens(self.parts.validation)
        if not self.lesson or not self.checks:
            raise DataError(
                f"{self.data_source}: expected pairs of at most {self.config.max_source} and"
                f" {self.config.context} tokens; got none"
            )

    def _tokens(self, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
        """Source and answer of those that are short enough."""
        sources = self.source_tokenizer.encode_batch([pair.source for pair in pairs])
        targets = self.target_tokenizer.encode_batch([pair.targets[0] for pair in pairs])
        return [
            (source.ids, target.ids)
            for source, target in zip(sources, targets, strict=True)
            if 0 < len(source.ids) <= self.config.max_source
            and len(target.ids) < self.config.context
        ]

    def steps(self, fold: int) -> int:
        del fold
        return -(-len(self.lesson) // self.config.batch_size)

    def batches(self, fold: int, epoch: int) -> Iterable[Batch]:
        rng = np.random.default_rng((self.config.seed, fold, epoch))
        lengths = [len(source) + len(target) for source, target in self.lesson]
        for rows in by_length(lengths, self.config.batch_size, rng):
            yield self._batch([self.lesson[row] for row in rows])

    def _batch(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
        source, mask = pad([source for source, _ in pairs])
        # Of padding zero is the end token too, but its mask is 0.
        said, told = pad([[*target, self.end] for _, target in pairs])
        return source, mask, said, told

    # --- learning ------------------------------------------------------------------------------

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        return {NETWORK: Muon.of(networks[NETWORK], self.config)}

    def step(self, networks: Networks, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        device = batch[0].device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.config.bfloat16):
            scores = self._scores(networks[NETWORK], batch)
        yield NETWORK, self._loss(scores, batch, self.config.smoothing)

    def _scores(self, network: Any, batch: Batch) -> Tensor:
        source, mask, said, _ = batch
        known = F.pad(said[:, :-1], (1, 0), value=self.end)
        scores: Tensor = network(known, network.remember(source, mask), mask)
        return scores

    def _loss(self, scores: Tensor, batch: Batch, smoothing: float) -> Tensor:
        _, _, said, told = batch
        there = told > 0
        return F.cross_entropy(scores[there].float(), said[there], label_smoothing=smoothing)

    def validate(self, networks: Networks, fold: int) -> float:
        del fold
        device = next(networks[NETWORK].parameters()).device
        losses, tokens = 0.0, 0
        for at in range(0, len(self.checks), MAX_ROWS):
            batch = self._batch(self.checks[at : at + MAX_ROWS])
            source, mask, said, told = (part.to(device) for part in batch)
            moved = (source, mask, said, told)
            count = int(told.sum())
            losses += float(self._loss(self._scores(networks[NETWORK], moved), moved, 0.0)) * count
            tokens += count
        return losses / tokens

    # --- result --------------------------------------------------------------------------------

    def say(self, network: Any, sources: Sequence[str], beams: int) -> list[str]:
        """What the network makes of each, the longer ones cut. On the CPU."""
        ids = [
            encoded.ids[: self.config.max_source] or [self.end]
            for encoded in self.source_tokenizer.encode_batch(list(sources))
        ]
        said = [""] * len(ids)
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        for at in range(0, len(order), MAX_ROWS):
            places = order[at : at + MAX_ROWS]
            tokens, mask = pad([ids[place] for place in places])
            found = search(
                network.follow,
                network.remember(tokens, mask),
                mask,
                end=self.end,
                max_tokens=self.config.context - 1,
                beams=beams,
                length_penalty=self.config.length_penalty,
            )
            for place, text in zip(places, self.target_tokenizer.decode_batch(found), strict=True):
                said[place] = text
        return said

    @property
    def lengths(self) -> tuple[int, ...]:
        """What sources are padded to, the longest among them."""
        longest = self.config.max_source
        return (*(length for length in self.padded if length < longest), longest)

    def generate(self, source_tokenizer: str, target_tokenizer: str, example: str) -> Verb:
        """The verb, by the files of both tokenizers."""
        settings = self.config
        return Verb(
            input=TextInput(tokenizer=source_tokenizer, max_tokens=settings.max_source),
            answer=TextAnswer(
                tokenizer=target_tokenizer,
                temperature=0,
                beams=settings.beams,
                length_penalty=settings.length_penalty,
                max_tokens=settings.context - 1,
            ),
            example=example,
        )

    def sample(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sources, their mask and the beginnings of as long answers, for the graphs' proof."""
        known = [*self.checks, *self.lesson[:rows]]
        longest = sorted(known, key=lambda pair: len(pair[1]), reverse=True)[:rows]
        length = min(len(target) for _, target in longest)
        # Short of the longest, for that can't be padded; and of a few tokens at least.
        source, mask = pad([ids[: self.config.max_source - 1] for ids, _ in longest])
        more = [self.end] * max(0, PARITY_TOKENS - 1 - length)
        return source, mask, torch.tensor([[self.end, *ids[:length], *more] for _, ids in longest])


def samples_table(pairs: Sequence[Pair], said: Sequence[str], header: Mapping[str, str]) -> str:
    """What was given, what is right and what was said, as a Markdown table."""
    rows = [
        [pair.source, " / ".join(pair.targets), answer]
        for pair, answer in zip(pairs, said, strict=True)
    ]
    lines = [list(header.values()), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in row) + " |" for row in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
