"""Gated recurrent units that read a source both ways and say it anew, looking back at it (arXiv
1409.0473), and the two graphs that do so. Attention stands between their layers (arXiv 1609.08144),
so that whole sequences are learned at once. Knows no tokenizer, no recipe and no task.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.decoding import Decoding, Source
from model_store.manifest import MAIN_GRAPH, Batching
from training.parts.decoder import CrossAttention, Shape, pick
from training.parts.decoder_graph import MAX_ROWS
from training.parts.encoder_decoder import ENCODER, encoder_export
from training.parts.gated import Gated
from training.recipe import GraphExport

KEY, VALUE = "cross.key", "cross.value"
PAST, PRESENT = "past_state", "present_state"


class BothWays(nn.Module):
    """A layer that reads forwards and backwards and adds both. What is padding does not matter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.forwards = Gated(width, width // 2)
        self.backwards = Gated(width, width // 2)

    def forward(self, flow: Tensor, mirror: Tensor) -> Tensor:
        """``[B, S, D]`` → the same. ``mirror`` int64 ``[B, S]``: places in the opposite order, so
        that reading backwards begins at each row's own end.
        """
        normed = self.norm(flow)
        nothing = flow.new_zeros(flow.shape[0], flow.shape[2] // 2)
        ahead, _ = self.forwards(normed, nothing)
        back, _ = self.backwards(pick(normed, mirror), nothing)
        return torch.cat([ahead, pick(back, mirror)], dim=2)


class RecurrentEncoderDecoder(nn.Module):
    """``layers`` that read; one that says, attention to the source, then ``layers`` more. One
    vocabulary for both sides, and of each token one vector (arXiv 1608.05859).
    """

    def __init__(self, vocabulary: int, shape: Shape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        self.lookup = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.lookup.weight, std=0.02)
        self.readers = nn.ModuleList(BothWays(width) for _ in range(shape.layers))
        self.read_norm = nn.LayerNorm(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(shape.layers + 1))
        self.layers = nn.ModuleList(Gated(width, width) for _ in range(shape.layers + 1))
        self.before_cross, self.cross = nn.LayerNorm(width), CrossAttention(shape)
        self.norm = nn.LayerNorm(width)
        # Of a size to tell tokens by; to be read it is brought to about one.
        self.scale = width**0.5

    @torch.no_grad()
    def begin_with(self, vectors: Tensor) -> None:
        """Take ``[V, D]`` for the tokens; where it has zeros, they stay as they are. It begins by
        looking at what is like what was said.
        """
        known = vectors.any(1)
        self.lookup.weight[known] = vectors[known]
        self.cross.key.weight.copy_(self.cross.query.weight)

    def remember(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The source int64 ``[B, S]`` twice → key and value ``[B, H, S, D/H]``."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        # Padding's own places are negative: it reads the first token, and nobody hears it.
        mirror = (mask.sum(1, keepdim=True) - 1 - places).clamp(min=0)
        flow = self._drop(self.lookup(tokens) * self.scale)
        for reader in self.readers:
            flow = flow + self._drop(reader(flow, mirror))
        key, value = self.cross.remember(self.read_norm(flow))
        return key, value

    def forward(self, tokens: Tensor, memory: Sequence[Tensor], mask: Tensor) -> Tensor:
        """What was said int64 ``[B, T]`` → scores of each one's successor ``[B, T, V]``."""
        zeros = memory[0].new_zeros(len(tokens), self.shape.width)
        flow, _ = self._walk(tokens, [zeros] * len(self.layers), memory, mask)
        return self._tell(flow)

    def follow(
        self, tokens: Tensor, past: Sequence[Tensor], memory: Sequence[Tensor], mask: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """One more token each, int64 ``[B]``, after the state ``past``, at first nothing; → scores
        ``[B, V]`` and the state.
        """
        zeros = memory[0].new_zeros(len(tokens), self.shape.width)
        state = past or [zeros] * len(self.layers)
        flow, after = self._walk(tokens[:, None], state, memory, mask)
        return self._tell(flow)[:, 0], after

    def extend(
        self,
        tokens: Tensor,
        wanted: Tensor,
        state: Sequence[Tensor],
        memory: Sequence[Tensor],
        mask: Tensor,
    ) -> tuple[Tensor, ...]:
        """New tokens int64 ``[B, T]`` after a state; → scores ``[B, K, V]`` of the places
        ``wanted`` int64 ``[B, K]``, and the state, of each layer ``[B, D]``.
        """
        flow, after = self._walk(tokens, state, memory, mask)
        return self._tell(pick(flow, wanted)), *after

    def _walk(
        self, tokens: Tensor, state: Sequence[Tensor], memory: Sequence[Tensor], mask: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        flow, after = self._drop(self.lookup(tokens) * self.scale), list[Tensor]()
        for place, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            said, kept = layer(norm(flow), state[place])
            flow = flow + self._drop(said)
            after.append(kept)
            if place == 0:
                flow = flow + self._drop(self.cross(self.before_cross(flow), memory, mask))
        return self.norm(flow), after

    def _tell(self, flow: Tensor) -> Tensor:
        return F.linear(flow, self.lookup.weight)

    def _drop(self, flow: Tensor) -> Tensor:
        return F.dropout(flow, self.shape.dropout, self.training)


class Served(nn.Module):
    """The half that says, as its graph has it: tokens, wanted, the source's mask, key and value,
    then each layer's state.
    """

    def __init__(self, network: RecurrentEncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        tokens: Tensor,
        wanted: Tensor,
        mask: Tensor,
        key: Tensor,
        value: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        return self.network.extend(tokens, wanted, state, (key, value), mask)


def recurrent_encoder_decoder_exports(
    network: RecurrentEncoderDecoder,
    sample: Callable[[int], tuple[Tensor, Tensor, Tensor]],
    *,
    end: int,
    lengths: tuple[int, ...],
) -> dict[str, GraphExport]:
    """Both graphs. ``sample(rows)``: a source, its mask and what was said, int64 ``[B, …]``;
    ``lengths``: what the source is padded to.
    """
    past, present = (
        [f"{stem}.{layer}" for layer in range(len(network.layers))] for stem in (PAST, PRESENT)
    )

    def continued(rows: int) -> dict[str, Tensor]:
        tokens, mask, said = sample(rows)
        with torch.no_grad():
            key, value = network.remember(tokens, mask)
        wanted = torch.arange(said.shape[1]).expand(rows, -1).contiguous()
        state = {name: torch.zeros(rows, network.shape.width) for name in past}
        given = {"tokens": said, "wanted": wanted, "mask": mask, KEY: key, VALUE: value}
        return given | state

    def reference(inputs: Mapping[str, Tensor]) -> Tensor:
        memory = (inputs[KEY], inputs[VALUE])
        scores: Tensor = network(inputs["tokens"], memory, inputs["mask"])
        return scores

    decoder = GraphExport(
        Served(network),
        continued,
        ["logits", *present],
        axes={
            "tokens": {1: "time"},
            "wanted": {1: "wanted"},
            "logits": {1: "wanted"},
            "mask": {1: "source"},
            KEY: {2: "source"},
            VALUE: {2: "source"},
        },
        batching=Batching(max_rows=MAX_ROWS),
        decoding=Decoding(
            form="state",
            cache=dict(zip(past, present, strict=True)),
            wanted="wanted",
            source=Source(graph=ENCODER),
            context=network.shape.context,
            start=(end,),
            end=(end,),
        ),
        reference=reference,
    )
    encoder = encoder_export(network, sample, (KEY, VALUE), lengths)
    return {MAIN_GRAPH: decoder, ENCODER: encoder}
