"""Text items: a string → token ids and, where the graph takes one, their mask: int64 ``[1, T]``."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from model_store.errors import ItemMismatch, ItemTooLarge
from model_store.spec import (
    MAX_PARTS,
    Array,
    Divider,
    Encoded,
    Encoder,
    InputKind,
    Parameters,
    Parts,
    Tensors,
    show,
)


class TextParameters(Parameters):
    """``truncate``: cut a text that is too long instead of refusing it."""

    truncate: bool = False


class TextInput(InputKind):
    """A string, cut into tokens by the bundle's tokenizer. The mask is 1 at every token."""

    media_types: ClassVar[tuple[str, ...]] = ("text/plain",)

    kind: Literal["text"] = "text"
    tokens: str = "tokens"
    mask: str | None = "mask"
    tokenizer: str = "tokenizer.json"
    max_tokens: int | None = Field(
        default=None, gt=0, description="None: whoever runs the graph knows how many fit"
    )
    max_characters: int = Field(default=100_000, gt=0)

    @property
    def parameters(self) -> type[Parameters]:
        return TextParameters

    def items(self, body: bytes, media_type: str) -> list[object]:
        del media_type
        try:
            return [body.decode("utf-8")]
        except UnicodeDecodeError as error:
            raise ItemMismatch(f"expected UTF-8 text; got byte {error.start} that is not") from None

    def body(self, item: object) -> tuple[bytes, str]:
        return str(item).encode(), "text/plain"

    def encoder(self, folder: Path) -> Encoder:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / self.tokenizer))

        def encode(item: object, parameters: TextParameters) -> Encoded:
            encoding = tokenizer.encode(self._text(item, parameters))
            ids = encoding.ids
            if not ids:
                raise ItemMismatch(f"expected text with a word in it; got {show(item)}")
            if self.max_tokens and len(ids) > self.max_tokens and not parameters.truncate:
                raise ItemTooLarge(
                    f"expected at most {self.max_tokens} tokens; got {len(ids)}"
                    " (parameters.truncate: true cuts the rest)"
                )
            tokens = np.array([cut(encoding, self.max_tokens or len(ids))], dtype=np.int64)
            tensors = {self.tokens: tokens}
            return Encoded(tensors | ({self.mask: np.ones_like(tokens)} if self.mask else {}))

        return encode

    @property
    def divisible(self) -> bool:
        return True

    def divider(self, folder: Path) -> Divider:
        """Words; one that is left out is what the tokenizer says of words it does not know."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / self.tokenizer))
        encode, unknown = self.encoder(folder), _unknown(tokenizer)

        def divide(item: object, parameters: TextParameters) -> Parts:
            tensors = encode(item, parameters).tensors
            text = self._text(item, parameters)
            encoding = tokenizer.encode(text)
            places = cut(encoding, tensors[self.tokens].shape[1], [*range(len(encoding.ids))])
            part_of, spans = _words(encoding, places)

            def keep(kept: Array) -> Tensors:
                rows = {name: np.repeat(row, len(kept), axis=0) for name, row in tensors.items()}
                # Marks around a text are no part of it: the last column, which is always there.
                whole = np.concatenate([kept, np.ones((len(kept), 1), np.bool_)], axis=1)
                rows[self.tokens][~whole[:, part_of]] = unknown
                return rows

            names = [{"text": text[start:end], "start": start, "end": end} for start, end in spans]
            return Parts(names, keep)

        return divide

    def _text(self, item: object, parameters: TextParameters) -> str:
        if not isinstance(item, str):
            raise ItemMismatch(f"expected a string; got {show(item)}")
        if len(item) > self.max_characters and not parameters.truncate:
            # Checked before the tokenizer runs, which costs about a second per five megabytes.
            raise ItemTooLarge(
                f"expected at most {self.max_characters:,} characters; got {len(item):,}"
            )
        text = item[: self.max_characters]
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise ItemMismatch("expected Unicode text; got half of a surrogate pair")
        return text


def cut(encoding: Any, max_tokens: int, values: list[int] | None = None) -> list[int]:
    """As many of a text's tokens as fit. What the tokenizer sets after a text, such as BERT's
    ``[SEP]``, stays at its end. ``values``: what to give for each token instead of its number.
    """
    ids: list[int] = encoding.ids if values is None else values
    if len(ids) <= max_tokens:
        return ids
    marks = next(
        place for place, mark in enumerate([*encoding.special_tokens_mask[::-1], 0]) if not mark
    )
    return ids[: max_tokens - marks] + ids[len(ids) - marks :]


def _words(encoding: Any, places: list[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Which part each of these tokens belongs to, -1 for marks, and where each part begins and ends
    in the text. A part is a word, or several of a long text.
    """
    words = [encoding.word_ids[place] for place in places]
    known = sorted({word for word in words if word is not None})
    size = -(-len(known) // MAX_PARTS) or 1
    part = {word: place // size for place, word in enumerate(known)}
    part_of = [-1 if word is None else part[word] for word in words]
    spans: dict[int, tuple[int, int]] = {}
    for owner, place in zip(part_of, places, strict=True):
        if owner >= 0:
            start, end = encoding.offsets[place]
            first, last = spans.get(owner, (start, end))
            spans[owner] = (min(first, start), max(last, end))
    return part_of, [spans[owner] for owner in sorted(spans)]


def _unknown(tokenizer: Any) -> int:
    """The token for a word that is hidden, or not known; where there is neither, the first one."""
    names = ("[MASK]", "<mask>", getattr(tokenizer.model, "unk_token", None), "[UNK]", "<unk>")
    found = (tokenizer.token_to_id(name) for name in names if name)
    return next((number for number in found if number is not None), 0)
