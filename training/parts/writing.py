"""What recipes that learn to write share: books as a stream of tokens, the step, the scores and the
samples. Such a recipe adds its network and its graph.

A window of the stream begins with the token that stands between books, wherever it was cut, so the
model learns that anything may follow it; what it is given to go on from is put after that token.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.answers.text import TextAnswer
from model_store.bundle import Bundle
from model_store.inputs.text import TextInput
from model_store.manifest import Category, Verb
from training.data import books
from training.errors import DataError
from training.parts.muon import Muon, MuonConfig
from training.parts.ngrams import KneserNey
from training.parts.tokens import END, kept_tokenizer, learn_byte_tokenizer
from training.recipe import Evaluation, Networks, Recipe

NETWORK = "writer"
BYTES = 257  # and what stands between books
TOKEN_ORDER = 5
BYTE_ORDERS = (4, 5, 9)
SAMPLES, SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 4, 90, 0.8
PARITY_TOKENS = 24
PROMPT_CHARACTERS = 60
MIN_WINDOWS = 8


class WritingConfig(MuonConfig):
    """Settings of the text and of how it is gone through."""

    width: int = Field(default=256, ge=32, multiple_of=32, description="width of a token's vector")
    layers: int = Field(default=4, ge=1, description="layers on top of one another")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of what each layer adds")
    vocabulary: int = Field(default=2048, ge=300, lt=65536, description="tokens at most")
    context: int = Field(default=256, ge=32, description="tokens of a window, and of a sequence")
    laps: int = Field(
        default=8, ge=1, description="epochs in one pass through the text: validation comes sooner"
    )
    bfloat16: bool = Field(
        default=True, description="multiply in bfloat16 while learning; here 1.65 times as fast"
    )
    corpus_bytes: int = Field(
        default=0, ge=0, description="of the text, only about so many bytes; 0: all"
    )


W = TypeVar("W", bound=WritingConfig)


class Writing(Recipe[W]):
    """A recipe that learns to continue a text."""

    category: ClassVar[Category] = "text"
    task = "writing"
    lower_is_better = True
    data_formats = "a text file, or a folder of .txt files; of each, the end is held out"
    smoke: ClassVar[Mapping[str, Any]] = {
        "epochs": 1, "laps": 1, "corpus_bytes": 150_000, "width": 64, "layers": 2, "vocabulary": 400
    }  # fmt: skip

    earlier: Any = None
    """The tokenizer of the version that training starts from."""

    # --- data ----------------------------------------------------------------------------------

    def take_over(self, bundle: Bundle) -> None:
        self.earlier = kept_tokenizer(bundle, "generate")

    def load(self, data: Path | None) -> None:
        if data is None:
            library = books.classics()
            self.data_source, self.data_license = books.SOURCE, books.LICENSE
        else:
            library = books.own(data)
            self.data_source, self.data_license = str(data), "the user's own"
        most = self.config.corpus_bytes
        self.library = books.Library(
            books.cut(library.train, most),
            books.cut(library.validation, most // 20),
            books.cut(library.test, most // 20),
        )
        texts = [book.text for book in self.library.train]
        self.tokenizer = self.earlier or learn_byte_tokenizer(texts, self.config.vocabulary)
        self.end: int = self.tokenizer.token_to_id(END)
        self.stream = self._stream(self.library.train)
        self.checks = self._stream(self.library.validation)
        if self._windows < MIN_WINDOWS:
            raise DataError(
                f"expected {MIN_WINDOWS} windows of {self.config.context} tokens to learn from;"
                f" got {len(self.stream)} tokens"
            )

    def _stream(self, texts: Iterable[books.Book]) -> npt.NDArray[np.int64]:
        """The end token, then each book with the end token after it."""
        stream = [self.end]
        for encoded in self.tokenizer.encode_batch([book.text for book in texts]):
            stream += [*encoded.ids, self.end]
        return np.array(stream)

    @property
    def _windows(self) -> int:
        """In a pass, wherever it starts."""
        return len(self.stream) // self.config.context - 1

    def steps(self, fold: int) -> int:
        del fold
        return -(-max(1, self._windows // self.config.laps) // self.config.batch_size)

    def batches(self, fold: int, epoch: int) -> Iterable[Tensor]:
        """int64 ``[B, T]`` of the stream. A pass sees each place once, from another start."""
        past, lap = divmod(epoch, self.config.laps)
        rng = np.random.default_rng((self.config.seed, fold, past))
        context, windows = self.config.context, self._windows
        starts = int(rng.integers(context)) + context * rng.permutation(windows)
        mine = starts[lap :: self.config.laps][: max(1, windows // self.config.laps)]
        for at in range(0, len(mine), self.config.batch_size):
            rows = mine[at : at + self.config.batch_size, None] + np.arange(context)
            yield torch.from_numpy(self.stream[rows])

    # --- learning ------------------------------------------------------------------------------

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        return {NETWORK: Muon.of(networks[NETWORK], self.config)}

    def step(self, networks: Networks, batch: Tensor) -> Iterator[tuple[str, Tensor]]:
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            scores = self.scores(networks[NETWORK], self._after_start(batch))
        yield NETWORK, F.cross_entropy(scores.float().flatten(0, 1), batch.flatten())

    @abstractmethod
    def scores(self, network: nn.Module, tokens: Tensor) -> Tensor:
        """Whole sequences: int64 ``[B, T]`` → scores of each one's successor ``[B, T, V]``."""

    def _after_start(self, windows: Tensor) -> Tensor:
        """What is known when each token of ``[B, T]`` is told."""
        return F.pad(windows[:, :-1], (1, 0), value=self.end)

    def validate(self, networks: Networks, fold: int) -> float:
        del fold
        losses = self._losses(networks[NETWORK], self.checks[1:], stride=self.config.context)
        return float(losses.mean())

    def _losses(
        self, network: nn.Module, tokens: npt.NDArray[np.int64], stride: int
    ) -> npt.NDArray[np.float64]:
        """Of each token in nats ``[N]``. All but the first window tell their last ``stride`` only,
        so that these have something before them.
        """
        context, device = self.config.context, next(network.parameters()).device
        losses = np.empty(len(tokens))
        starts = list(range(0, max(1, len(tokens) - context + stride), stride))
        for at in range(0, len(starts), 32):
            some = starts[at : at + 32]
            padded = np.full((len(some), context), self.end)
            for row, start in zip(padded, some, strict=True):
                row[: len(tokens) - start] = tokens[start : start + context]
            windows = torch.from_numpy(padded).to(device)
            scores = self.scores(network, self._after_start(windows))
            told = F.cross_entropy(scores.flatten(0, 1), windows.flatten(), reduction="none")
            for start, row in zip(some, told.view_as(windows).cpu().numpy(), strict=True):
                fresh = context - stride if start else 0
                part = losses[start + fresh : start + context]
                part[:] = row[fresh : fresh + len(part)]
        return losses

    # --- result --------------------------------------------------------------------------------

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        network = fitted[-1][NETWORK]
        test = self.library.test
        bits = []
        for book in test:
            ids = np.array(self.tokenizer.encode(book.text).ids)
            losses = self._losses(network, ids, stride=self.config.context // 2)
            bits.append(float(losses.sum() / np.log(2)))
        known = sum(map(len, (*self.library.train, *self.library.validation)))
        description = (
            f"Bits per byte on {len(test)} held-out texts ({', '.join(b.title for b in test)};"
            f" {sum(map(len, test)):,} bytes), each token told from at least"
            f" {self.config.context // 2} before it where there are so many. The baselines are"
            f" modified Kneser-Ney models of the {known:,} bytes that this model learned from or"
            " was stopped by."
        )
        return Evaluation(
            per_byte(test, bits), self._baselines(), description, samples=self._samples(network)
        )

    def _baselines(self) -> dict[str, dict[str, float]]:
        """The tables' scores, on the same bytes."""
        known, test = [*self.library.train, *self.library.validation], self.library.test
        size = self.tokenizer.get_vocab_size()
        table = KneserNey(self._stream(known), TOKEN_ORDER, size)
        streams = [self._stream([book]) for book in test]
        told = {
            f"{TOKEN_ORDER}_gram_of_the_same_tokens": [table.bits(s)[1:-1].sum() for s in streams]
        }
        bytes_known = _byte_stream(known)
        for order in BYTE_ORDERS:
            table = KneserNey(bytes_known, order, BYTES)
            told[f"{order}_gram_of_bytes"] = [
                table.bits(_byte_stream([book]))[1:-1].sum() for book in test
            ]
        return {name: per_byte(test, bits) for name, bits in told.items()}

    def _samples(self, network: nn.Module) -> str:
        """Held-out beginnings and what the model makes of them, as Markdown."""
        generator = torch.Generator().manual_seed(self.config.seed)
        parts = []
        for place in range(SAMPLES):
            book = self.library.test[place * len(self.library.test) // SAMPLES]
            middle = book.text.find("\n", len(book.text) // 2) + 1
            prompt = book.text[middle : middle + PROMPT_CHARACTERS]
            ids = [self.end, *self.tokenizer.encode(prompt).ids]
            said = self.tokenizer.decode(self._continue(network, ids, generator))
            quoted = "\n".join(f"> {line}" for line in (f"**{prompt}**{said}").splitlines())
            parts.append(f"From {book.title}, the bold given:\n\n{quoted}")
        return "\n\n".join(parts)

    def _continue(
        self, network: nn.Module, ids: list[int], generator: torch.Generator
    ) -> list[int]:
        """Tokens drawn one after another."""
        start = len(ids)
        while len(ids) < start + SAMPLE_TOKENS:
            seen = torch.tensor([ids[-self.config.context :]])
            chances = (self.scores(network, seen)[0, -1] / SAMPLE_TEMPERATURE).softmax(0)
            token = int(torch.multinomial(chances, 1, generator=generator))
            if token == self.end:
                break
            ids.append(token)
        return ids[start:]

    def sample(self, rows: int) -> dict[str, Tensor]:
        """Held-out ``tokens`` int64 ``[B, T]``, each row from a place of its own."""
        ids = torch.from_numpy(self._stream(self.library.test))
        step = max(1, (len(ids) - PARITY_TOKENS) // rows)
        return {"tokens": torch.stack([ids[step * row :][:PARITY_TOKENS] for row in range(rows)])}

    def verb(self, folder: Path) -> Verb:
        """``generate``; writes the tokenizer."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return Verb(
            input=TextInput(max_tokens=None, mask=None),
            answer=TextAnswer(temperature=SAMPLE_TEMPERATURE, max_tokens=self.config.context // 2),
            example=self.library.test[0].text[:PROMPT_CHARACTERS],
        )


def per_byte(test: Sequence[books.Book], bits: Sequence[float]) -> dict[str, float]:
    """Of all books and of each collection, where there are several."""
    sizes = [len(book) for book in test]
    metrics = {"bits_per_byte": float(sum(bits) / sum(sizes))}
    collections = dict.fromkeys(book.collection for book in test)
    for collection in collections if len(collections) > 1 else ():
        mine = [place for place, book in enumerate(test) if book.collection == collection]
        name = f"bits_per_byte_{collection.lower().replace(' ', '_')}"
        metrics[name] = float(sum(bits[i] for i in mine) / sum(sizes[i] for i in mine))
    return metrics


def _byte_stream(texts: Iterable[books.Book]) -> npt.NDArray[np.int64]:
    """Bytes, with a token of its own before, between and after books."""
    stream = [BYTES - 1]
    for book in texts:
        stream += [*book.text.encode(), BYTES - 1]
    return np.array(stream)
