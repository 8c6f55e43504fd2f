"""A small Transformer encoder for padded tokens. Knows no tokenizer, no recipe and no task.

Pre-norm layers (arXiv 2002.04745) with rotary positions (arXiv 2104.09864): no table of positions,
so no longest text. A row's answer never depends on its padding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 100.0
"""Texts are short: the slowest angle turns once in a few hundred tokens, not in ten thousands."""


class Layer(nn.Module):
    """Self-attention, then a feed-forward step, both added to what was there."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before_attention, self.before_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, flow: Tensor, visible: Tensor) -> Tensor:
        """``[B, T, D]`` and bool ``[B, 1, 1, T]`` → ``[B, T, D]``"""
        flow = flow + self._drop(self._attend(self.before_attention(flow), visible))
        hidden = self._drop(F.gelu(self.up(self.before_forward(flow))))
        return flow + self._drop(self.down(hidden))

    def _attend(self, flow: Tensor, visible: Tensor) -> Tensor:
        parts = self.query_key_value(flow).unflatten(2, (3, self.heads, -1))  # [B, T, 3, H, D/H]
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, H, T, D/H]
        seen = F.scaled_dot_product_attention(
            turn(query),
            turn(key),
            value,
            attn_mask=visible,
            dropout_p=self.dropout if self.training else 0.0,
        )
        mixed: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return mixed

    def _drop(self, flow: Tensor) -> Tensor:
        return F.dropout(flow, self.dropout, self.training)


class Encoder(nn.Module):
    """Token ids → one vector a text: the mean of the layers' output, then that of the embeddings.

    The second half is a bag of words beside the layers: it learns at once from a few thousand
    texts, and leaves to attention what a bag can't say.
    """

    def __init__(
        self,
        tokens: int,
        *,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        bag_dropout: float,
    ) -> None:
        super().__init__()
        self.lookup = nn.Embedding(tokens, width)
        nn.init.normal_(self.lookup.weight, std=0.1)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bag_dropout = bag_dropout

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """int64 ``[B, T]`` twice, mask 1 at tokens and 0 at padding → ``[B, 2 D]``"""
        words = F.dropout(self.lookup(tokens), self.bag_dropout, self.training)  # [B, T, D]
        weight = mask[:, :, None].to(words.dtype)
        count = weight.sum(1).clamp(min=1)  # [B, 1]
        flow = words
        for layer in self.layers:
            flow = layer(flow, mask[:, None, None, :] > 0)
        mean = (self.norm(flow) * weight).sum(1) / count
        # By the root: a long text should say more than a short one, but not in proportion.
        bag = (words * weight).sum(1) / count.sqrt()
        return torch.cat([F.dropout(mean, self.bag_dropout, self.training), bag], dim=1)


def turn(vectors: Tensor) -> Tensor:
    """Rotate pairs of ``[B, H, T, D]`` by angles that grow with the place in T."""
    half = vectors.shape[-1] // 2
    rate = ROTARY_BASE ** (-torch.arange(half, device=vectors.device) / half)
    angle = torch.arange(vectors.shape[-2], device=vectors.device)[:, None] * rate  # [T, D/2]
    first, second = vectors[..., :half], vectors[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
