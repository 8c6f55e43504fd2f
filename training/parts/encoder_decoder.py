"""A Transformer that reads a source as a whole and says it anew, token by token (arXiv 1706.03762),
and the two graphs that do so. Knows no tokenizer, no recipe and no task.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.decoding import Source
from model_store.manifest import MAIN_GRAPH, Batching
from training.parts.decoder import Decoder, Shape
from training.parts.decoder_graph import CROSS, cache_names, decoder_export
from training.parts.encoder import Layer
from training.recipe import GraphExport

ENCODER = "encoder"


class EncoderDecoder(nn.Module):
    """Layers of both kinds, as many of each. ``tied``: both sides have one vocabulary, and what is
    read, said and told of a token is one vector (arXiv 1608.05859).
    """

    def __init__(
        self, source_vocabulary: int, target_vocabulary: int, shape: Shape, *, tied: bool = False
    ) -> None:
        super().__init__()
        self.lookup = nn.Embedding(source_vocabulary, shape.width)
        nn.init.normal_(self.lookup.weight, std=0.1)
        self.layers = nn.ModuleList(
            Layer(shape.width, shape.heads, shape.dropout) for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(shape.width)
        self.decoder = Decoder(target_vocabulary, shape, cross=True)
        self.scale = 1.0
        if tied:
            # Of a size to tell tokens by; to be read it is brought to about one.
            self.scale = shape.width**0.5
            self.lookup.weight = self.decoder.lookup.weight = self.decoder.head.weight

    @torch.no_grad()
    def begin_with(self, vectors: Tensor) -> None:
        """Take ``[V, D]`` for the tokens; where it has zeros, they stay as they are. Layers begin
        by adding nothing to what is read, and by looking at what is like what was said.
        """
        known = vectors.any(1)
        self.lookup.weight[known] = vectors[known]
        for layer in self.layers:
            for last in (layer.output, layer.down):
                nn.init.zeros_(last.weight)  # type: ignore[union-attr, arg-type]
                nn.init.zeros_(last.bias)  # type: ignore[union-attr, arg-type]
        for layer in self.decoder.stack:
            if layer.cross is not None:
                layer.cross.key.weight.copy_(layer.cross.query.weight)

    def remember(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The source int64 ``[B, S]`` twice → of each layer key and value ``[B, H, S, D/H]``."""
        flow = F.dropout(
            self.lookup(tokens) * self.scale, self.decoder.shape.dropout, self.training
        )
        for layer in self.layers:
            flow = layer(flow, mask[:, None, None, :] > 0)
        source = self.norm(flow)
        return tuple(
            part
            for layer in self.decoder.stack
            if layer.cross is not None
            for part in layer.cross.remember(source)
        )

    def forward(self, tokens: Tensor, memory: Sequence[Tensor], mask: Tensor) -> Tensor:
        """What was said int64 ``[B, T]`` → scores of each one's successor ``[B, T, V]``."""
        scores: Tensor = self.decoder(tokens, memory, mask)
        return scores

    def follow(
        self, tokens: Tensor, past: Sequence[Tensor], memory: Sequence[Tensor], mask: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """One more token each, int64 ``[B]``; see :meth:`Decoder.follow`."""
        return self.decoder.follow(tokens, past, memory, mask)


class Remember(nn.Module):
    """The half that reads, of any network that has a ``remember``."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        memory: tuple[Tensor, ...] = self.network.remember(tokens, mask)
        return memory


def encoder_export(
    network: nn.Module,
    sample: Callable[[int], tuple[Tensor, Tensor, Tensor]],
    memory: Sequence[str],
    lengths: tuple[int, ...],
) -> GraphExport:
    """The graph that reads; ``memory``: what its outputs are called."""

    def source(rows: int) -> dict[str, Tensor]:
        tokens, mask, _ = sample(rows)
        return {"tokens": tokens, "mask": mask}

    axes = {"tokens": {1: "time"}, "mask": {1: "time"}} | {name: {2: "time"} for name in memory}
    return GraphExport(
        Remember(network), source, memory, axes=axes, batching=Batching(pad={"time": lengths})
    )


def encoder_decoder_exports(
    network: EncoderDecoder,
    sample: Callable[[int], tuple[Tensor, Tensor, Tensor]],
    *,
    end: int,
    lengths: tuple[int, ...],
) -> dict[str, GraphExport]:
    """Both graphs. ``sample(rows)``: a source, its mask and what was said, int64 ``[B, …]``;
    ``lengths``: what the source is padded to.
    """
    shape = network.decoder.shape
    memory = cache_names(CROSS, shape.layers)

    def continued(rows: int) -> dict[str, Tensor]:
        tokens, mask, said = sample(rows)
        with torch.no_grad():
            remembered = network.remember(tokens, mask)
        given = dict(zip(memory, remembered, strict=True))
        return {"tokens": said, "mask": mask, **given}

    return {
        MAIN_GRAPH: decoder_export(
            network.decoder, continued, start=(end,), end=(end,), source=Source(graph=ENCODER)
        ),
        ENCODER: encoder_export(network, sample, memory, lengths),
    }
