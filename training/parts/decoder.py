"""Llama-like decoder layers (arXiv 2302.13971) that run in two ways: over whole sequences, to
learn, and over a few new tokens beside a cache, to write. Knows no tokenizer and no task.

Both ways are the same arithmetic. The second goes through ``com.microsoft::GroupQueryAttention``,
which writes new keys and values into the cache's own memory and lets every row have its own length;
torch has no such operator, so that way exists only as an ONNX graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 10_000.0
HEAD_MULTIPLE = 16


@dataclass(frozen=True)
class Shape:
    """How large a decoder is. ``context``: tokens of the longest sequence. ``dropout``: of what the
    layers add, not of where they look, which would cost a CPU its fast attention.
    """

    width: int
    layers: int
    heads: int
    context: int
    dropout: float = 0.0

    @property
    def head_size(self) -> int:
        return self.width // self.heads


def check_heads(width: int, heads: int) -> None:
    """Raises ValueError for heads of a size that ``GroupQueryAttention`` does not take."""
    if width % (HEAD_MULTIPLE * heads):
        raise ValueError(
            f"expected a width of {heads} heads times a multiple of {HEAD_MULTIPLE}; got {width}"
        )


class SelfAttention(nn.Module):
    """Each token looks at itself and those before it; places are turned in (arXiv 2104.09864)."""

    cos: Tensor  # [context, size / 2]
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)
        rate = ROTARY_BASE ** (-torch.arange(0, shape.head_size, 2) / shape.head_size)
        angle = torch.arange(shape.context)[:, None] * rate
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, flow: Tensor) -> Tensor:
        """A whole sequence: ``[B, T, D]`` → ``[B, T, D]``"""
        query, key, value = (
            part(flow).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D/H]
            for part in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(
            self._turn(query),
            self._turn(key),
            value,
            is_causal=True,
        )
        mixed: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return mixed

    def follow(self, flow: Tensor, past: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """One more token ``[B, 1, D]`` after ``past`` key and value ``[B, H, T, D/H]``, if there
        are any; → the same and both with the token's own. For torch, where all rows are as long.
        """
        query, key, value = (
            part(flow).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        start = past[0].shape[2] if past else 0
        query, key = self._turn(query, start), self._turn(key, start)
        if past:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        seen = F.scaled_dot_product_attention(query, key, value)
        return self.output(seen.transpose(1, 2).flatten(2)), key, value

    def _turn(self, vectors: Tensor, start: int = 0) -> Tensor:
        """Rotate pairs of ``[B, H, T, D/H]``, the first half with the second, as of the place
        ``start``.
        """
        places = slice(start, start + vectors.shape[2])
        cos, sin = (table[places].to(vectors.dtype) for table in (self.cos, self.sin))
        first, second = vectors.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def extend(
        self, flow: Tensor, lengths: Tensor, total: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New tokens ``[B, T, D]`` after ``past`` key and value ``[B, H, L, D/H]``; → the same and
        both caches. ``lengths`` int32 ``[B]``: all tokens of a row less one; ``total``: the most.
        """
        mixed, key, value = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            (self.query(flow), self.key(flow), self.value(flow), *past, lengths, total,
             self.cos, self.sin),
            attrs={"num_heads": self.heads, "kv_num_heads": self.heads, "do_rotary": 1},
            dtypes=(torch.float32,) * 3,
            shapes=(flow.shape, past[0].shape, past[1].shape),
            version=1,
        )  # fmt: skip
        return self.output(mixed), key, value


class CrossAttention(nn.Module):
    """Each token looks at the source, whose keys and values are computed once."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def remember(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, S, D]`` → key and value ``[B, H, S, D/H]``"""
        key, value = (
            part(source).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.key, self.value)
        )
        return key, value

    def forward(self, flow: Tensor, memory: Sequence[Tensor], mask: Tensor) -> Tensor:
        """``[B, T, D]``, what :meth:`remember` gave and the source's mask ``[B, S]``"""
        query = self.query(flow).unflatten(2, (self.heads, -1)).transpose(1, 2)
        seen = F.scaled_dot_product_attention(
            query, memory[0], memory[1], attn_mask=mask[:, None, None, :] > 0
        )
        mixed: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return mixed


class Layer(nn.Module):
    """Attention to what was said, to the source if there is one, then a gated step forward."""

    def __init__(self, shape: Shape, *, cross: bool) -> None:
        super().__init__()
        self.dropout = shape.dropout
        self.before_attention, self.attention = nn.RMSNorm(shape.width), SelfAttention(shape)
        self.before_cross = nn.RMSNorm(shape.width) if cross else None
        self.cross = CrossAttention(shape) if cross else None
        hidden = -(-shape.width * 8 // 3 // 64) * 64
        self.before_forward = nn.RMSNorm(shape.width)
        self.gate = nn.Linear(shape.width, hidden, bias=False)
        self.up = nn.Linear(shape.width, hidden, bias=False)
        self.down = nn.Linear(hidden, shape.width, bias=False)
        # Each layer starts by adding nothing, and learns what to add.
        for last in (
            self.attention.output,
            self.down,
            *([self.cross.output] if self.cross else []),
        ):
            nn.init.zeros_(last.weight)

    def forward(self, flow: Tensor, memory: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        flow = flow + self._drop(self.attention(self.before_attention(flow)))
        return self._rest(flow, memory, mask)

    def extend(
        self,
        flow: Tensor,
        lengths: Tensor,
        total: Tensor,
        past: Sequence[Tensor],
        memory: Sequence[Tensor],
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, key, value = self.attention.extend(self.before_attention(flow), lengths, total, past)
        return self._rest(flow + mixed, memory, mask), key, value

    def follow(
        self, flow: Tensor, past: Sequence[Tensor], memory: Sequence[Tensor], mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, key, value = self.attention.follow(self.before_attention(flow), past)
        return self._rest(flow + mixed, memory, mask), key, value

    def _rest(self, flow: Tensor, memory: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        if self.cross is not None and self.before_cross is not None and mask is not None:
            flow = flow + self._drop(self.cross(self.before_cross(flow), memory, mask))
        normed = self.before_forward(flow)
        return flow + self._drop(self.down(F.silu(self.gate(normed)) * self.up(normed)))

    def _drop(self, flow: Tensor) -> Tensor:
        return F.dropout(flow, self.dropout, self.training)


class Decoder(nn.Module):
    """Token ids → scores of each token's successor."""

    def __init__(self, vocabulary: int, shape: Shape, *, cross: bool = False) -> None:
        super().__init__()
        self.shape, self.vocabulary = shape, vocabulary
        self.lookup = nn.Embedding(vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape, cross=cross) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width)
        self.head = nn.Linear(shape.width, vocabulary, bias=False)
        nn.init.normal_(self.lookup.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)

    @property
    def stack(self) -> list[Layer]:
        """The layers, by their own type."""
        return cast("list[Layer]", list(self.layers))

    def forward(
        self, tokens: Tensor, memory: Sequence[Tensor] = (), mask: Tensor | None = None
    ) -> Tensor:
        """int64 ``[B, T]`` → ``[B, T, V]``. ``memory``: of each layer key and value of the source,
        whose mask is int64 ``[B, S]``.
        """
        flow = F.dropout(self.lookup(tokens), self.shape.dropout, self.training)
        for place, layer in enumerate(self.stack):
            flow = layer(flow, memory[2 * place : 2 * place + 2], mask)
        scores: Tensor = self.head(self.norm(flow))
        return scores

    def follow(
        self,
        tokens: Tensor,
        past: Sequence[Tensor],
        memory: Sequence[Tensor] = (),
        mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """One more token each, int64 ``[B]``, after ``past``, at first nothing; → scores ``[B, V]``
        and, of each layer, key and value of all so far. In torch, for scores.
        """
        flow, kept = self.lookup(tokens[:, None]), list[Tensor]()
        for place, layer in enumerate(self.stack):
            pair = slice(2 * place, 2 * place + 2)
            flow, key, value = layer.follow(flow, past[pair], memory[pair], mask)
            kept += [key, value]
        return self.head(self.norm(flow))[:, 0], kept

    def extend(
        self,
        tokens: Tensor,
        lengths: Tensor,
        wanted: Tensor,
        past: Sequence[Tensor],
        memory: Sequence[Tensor] = (),
        mask: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """New tokens int64 ``[B, T]`` after ``past``; → scores ``[B, K, V]`` of the places
        ``wanted`` int64 ``[B, K]``, then of each layer the key and value cache.
        """
        flow, total = self.lookup(tokens), (lengths.max() + 1).to(torch.int32)
        caches: list[Tensor] = []
        for place, layer in enumerate(self.stack):
            pair = slice(2 * place, 2 * place + 2)
            flow, key, value = layer.extend(flow, lengths, total, past[pair], memory[pair], mask)
            caches += [key, value]
        return self.head(pick(self.norm(flow), wanted)), *caches


def pick(flow: Tensor, wanted: Tensor) -> Tensor:
    """The places int64 ``[B, K]`` of ``[B, T, D]`` → ``[B, K, D]``"""
    return torch.gather(flow, 1, wanted[:, :, None].expand(-1, -1, flow.shape[2]))
