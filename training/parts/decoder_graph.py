"""The graph of a decoder: new tokens and a cache in, scores and the same cache out. No recipe."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from model_store.decoding import Decoding, Source
from model_store.manifest import Batching
from training.parts.decoder import Decoder, Shape
from training.recipe import GraphExport

PAST, PRESENT, CROSS = "past_key_values", "present", "cross"
"""What the cache's tensors are called, and the source's keys and values."""
MAX_ROWS = 16


class Served(nn.Module):
    """A decoder as its graph has it: tokens, lengths, wanted, then of each layer the cache's key
    and value; with a source its mask and, of each layer, the source's key and value before them.
    """

    def __init__(self, decoder: Decoder, *, cross: bool = False) -> None:
        super().__init__()
        self.decoder, self.cross = decoder, cross

    def forward(
        self, tokens: Tensor, lengths: Tensor, wanted: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        mask: Tensor | None = None
        memory: tuple[Tensor, ...] = ()
        past = rest
        if self.cross:
            pairs = 2 * self.decoder.shape.layers
            mask, memory, past = rest[0], rest[1 : 1 + pairs], rest[1 + pairs :]
        return self.decoder.extend(tokens, lengths, wanted, past, memory, mask)


def cache_names(stem: str, layers: int) -> list[str]:
    """``stem.0.key``, ``stem.0.value``, ``stem.1.key`` …"""
    return [f"{stem}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def empty_cache(shape: Shape, rows: int) -> dict[str, Tensor]:
    """Room for the longest sequence: float32 ``[B, H, context, D/H]`` each."""
    size = (rows, shape.heads, shape.context, shape.head_size)
    return {name: torch.zeros(size) for name in cache_names(PAST, shape.layers)}


def decoder_export(
    decoder: Decoder,
    sample: Callable[[int], dict[str, Tensor]],
    *,
    start: tuple[int, ...],
    end: tuple[int, ...],
    source: Source | None = None,
) -> GraphExport:
    """The graph that continues sequences. ``sample(rows)``: int64 ``tokens`` ``[B, T]`` and, with a
    source, its mask and what :meth:`CrossAttention.remember` makes of it, named by ``CROSS``.
    """
    shape = decoder.shape
    past, present = (cache_names(stem, shape.layers) for stem in (PAST, PRESENT))
    memory = cache_names(CROSS, shape.layers) if source else []

    def inputs(rows: int) -> dict[str, Tensor]:
        given = sample(rows)
        tokens = given.pop("tokens")
        whole = {
            "tokens": tokens,
            "lengths": torch.full((rows,), tokens.shape[1] - 1, dtype=torch.int32),
            "wanted": torch.arange(tokens.shape[1]).expand(rows, -1).contiguous(),
        }
        return whole | given | empty_cache(shape, rows)

    def reference(inputs: Mapping[str, Tensor]) -> Tensor:
        mask = inputs[source.mask] if source else None
        scores: Tensor = decoder(inputs["tokens"], [inputs[name] for name in memory], mask)
        return scores

    axes: dict[str, dict[int, str]] = {"tokens": {1: "time"}, "wanted": {1: "wanted"}}
    axes |= {"logits": {1: "wanted"}} | {name: {2: "cache"} for name in (*past, *present)}
    if source:
        axes |= {source.mask: {1: "source"}} | {name: {2: "source"} for name in memory}
    return GraphExport(
        Served(decoder, cross=source is not None),
        inputs,
        ["logits", *present],
        axes=axes,
        batching=Batching(max_rows=MAX_ROWS),
        decoding=Decoding(
            form="shared",
            cache=dict(zip(past, present, strict=True)),
            lengths="lengths",
            wanted="wanted",
            source=source,
            context=shape.context,
            start=start,
            end=end,
        ),
        reference=reference,
    )
