"""How a graph is run token by token: which of its tensors are the tokens, the logits and what is
kept between two runs. A graph that has this goes to the decoder instead of the batcher.
"""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from model_store.spec import Spec, TensorSpec


class Source(Spec):
    """The graph that reads what is to be said anew (a sentence to translate, say), once for each
    sequence. Its outputs go to the decoder's inputs of the same names: those among the cache are
    where a sequence starts, the others stay as they are and are padded along their named axes.
    """

    graph: str = "encoder"
    mask: str = Field(default="mask", description="int64 [B, S], which places are real: an input of"
                      " both graphs")  # fmt: skip


class Decoding(Spec):
    """The tensors of a graph that continues a sequence, and the rules of its vocabulary.

    ``tokens`` int64 ``[B, T]`` are new ones only. ``logits`` float ``[B, K, V]``: of the places
    that ``wanted`` int64 ``[B, K]`` names, else of all ``T``. ``cache`` maps what a run takes from
    the last one to the output that holds it for the next one:

    ``shared``
        ``[B, heads, L, size]``, the output written into the input's own memory at the places of
        the new tokens, as ``com.microsoft::GroupQueryAttention`` does; ``lengths`` int32 ``[B]``
        are each row's tokens, old and new, less one.
    ``growing``
        ``[B, heads, P, size]`` in, ``[B, heads, P + T, size]`` out. ``mask`` int64 ``[B, P + T]``
        and ``positions`` int64 ``[B, T]`` where the graph takes them.
    ``state``
        The same shape in and out, as recurrent networks have it.
    """

    form: Literal["shared", "growing", "state"]
    tokens: str = "tokens"
    logits: str = "logits"
    cache: dict[str, str] = Field(min_length=1)
    lengths: str | None = None
    wanted: str | None = None
    mask: str | None = None
    positions: str | None = None
    source: Source | None = None
    context: int = Field(gt=1, description="tokens of a sequence, the prompt's among them")
    start: tuple[int, ...] = Field(default=(), description="put before what the model says, or"
                                   " before the prompt where there is no source")  # fmt: skip
    end: tuple[int, ...] = Field(default=(), description="tokens that end a sequence")

    @model_validator(mode="after")
    def _form_has_what_it_needs(self) -> Self:
        if (self.form == "shared") != (self.lengths is not None):
            raise ValueError("a cache has lengths where it is shared, and only there")
        if self.form != "growing" and (self.mask or self.positions):
            raise ValueError("only a growing cache has a mask and positions")
        if self.source and not self.start:
            raise ValueError("a sequence with a source needs a token to start with")
        return self

    def check(self, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> None:
        """Raises ValueError for a tensor that the graph does not have."""
        taken = [self.tokens, self.lengths, self.wanted, self.mask, self.positions, *self.cache]
        for side, names, found in (
            ("input", taken, {tensor.name for tensor in inputs}),
            ("output", [self.logits, *self.cache.values()], {tensor.name for tensor in outputs}),
        ):
            missing = sorted({name for name in names if name} - found)
            if missing:
                raise ValueError(f"decoding names the {side} {missing[0]!r}, which is not there")
