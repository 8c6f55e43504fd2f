"""LSTM layers that read a sequence and tell each token's successor; what they keep is a state, the
same size after any number of tokens. Knows no tokenizer, no recipe and no task.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.decoding import Decoding
from model_store.manifest import Batching
from training.parts.decoder_graph import MAX_ROWS
from training.recipe import GraphExport

PAST, PRESENT = "past_state", "present_state"
PARTS = ("hidden", "cell")


class Recurrent(nn.Module):
    """Each layer adds to what the one below it says."""

    def __init__(self, vocabulary: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        self.lookup = nn.Embedding(vocabulary, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.head.weight, std=0.02)
        for layer in self.layers:
            # Remember at first, and learn to forget (Jozefowicz et al. 2015).
            forget = layer.get_parameter("bias_hh_l0")[width : 2 * width]
            nn.init.ones_(forget)

    def forward(self, tokens: Tensor) -> Tensor:
        """Whole sequences: int64 ``[B, T]`` → ``[B, T, V]``"""
        zeros = [tokens.new_zeros(len(tokens), self.width, dtype=torch.float32)]
        flow, _ = self._walk(tokens, zeros * (2 * len(self.layers)))
        scores: Tensor = self.head(flow)
        return scores

    def extend(self, tokens: Tensor, wanted: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """New tokens int64 ``[B, T]`` after a state; → scores ``[B, K, V]`` of the places
        ``wanted`` int64 ``[B, K]``, and the state, of each layer hidden and cell ``[B, D]``.
        """
        flow, after = self._walk(tokens, state)
        chosen = torch.gather(flow, 1, wanted[:, :, None].expand(-1, -1, self.width))
        return self.head(chosen), *after

    def _walk(self, tokens: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        flow, after = self._drop(self.lookup(tokens)), []
        for place, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            before = tuple(part[None] for part in state[2 * place : 2 * place + 2])
            said, kept = layer(norm(flow), before)
            flow = flow + self._drop(said)
            after += [part[0] for part in kept]
        return self.norm(flow), after

    def _drop(self, flow: Tensor) -> Tensor:
        return F.dropout(flow, self.dropout, self.training)


class Served(nn.Module):
    """The layers as their graph has them: tokens, wanted, then each layer's hidden and cell."""

    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, wanted: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return self.network.extend(tokens, wanted, state)


def recurrent_export(
    network: Recurrent,
    sample: Callable[[int], Mapping[str, Tensor]],
    *,
    context: int,
    start: tuple[int, ...],
    end: tuple[int, ...],
) -> GraphExport:
    """The graph that continues sequences. ``sample(rows)``: int64 ``tokens`` ``[B, T]``."""
    past, present = (
        [f"{stem}.{layer}.{part}" for layer in range(len(network.layers)) for part in PARTS]
        for stem in (PAST, PRESENT)
    )

    def inputs(rows: int) -> dict[str, Tensor]:
        tokens = sample(rows)["tokens"]
        wanted = torch.arange(tokens.shape[1]).expand(rows, -1).contiguous()
        state = {name: torch.zeros(rows, network.width) for name in past}
        return {"tokens": tokens, "wanted": wanted, **state}

    def reference(inputs: Mapping[str, Tensor]) -> Tensor:
        scores: Tensor = network(inputs["tokens"])
        return scores

    return GraphExport(
        Served(network),
        inputs,
        ["logits", *present],
        axes={"tokens": {1: "time"}, "wanted": {1: "wanted"}, "logits": {1: "wanted"}},
        batching=Batching(max_rows=MAX_ROWS),
        decoding=Decoding(
            form="state",
            cache=dict(zip(past, present, strict=True)),
            wanted="wanted",
            context=context,
            start=start,
            end=end,
        ),
        reference=reference,
    )
