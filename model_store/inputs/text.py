"""Text items: a string → token ids and, where the graph takes one, their mask: int64 ``[1, T]``."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from model_store.errors import ItemMismatch, ItemTooLarge
from model_store.spec import Encoded, Encoder, InputKind, Parameters, show


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


def cut(encoding: Any, max_tokens: int) -> list[int]:
    """As many of a text's tokens as fit. What the tokenizer sets after a text, such as BERT's
    ``[SEP]``, stays at its end.
    """
    ids: list[int] = encoding.ids
    if len(ids) <= max_tokens:
        return ids
    marks = next(
        place for place, mark in enumerate([*encoding.special_tokens_mask[::-1], 0]) if not mark
    )
    return ids[: max_tokens - marks] + ids[len(ids) - marks :]
