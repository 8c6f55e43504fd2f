"""A recurrent network that says at each block of audio which token is heard, and what is served of
it. Steps beyond a recording's end count for nothing. Knows no data and no recipe.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.parts.log_mel import FRAMES, LogMel

FLOAT = 1
"""ONNX's number for float32."""
SCALE = 0.4
"""Of log-mel spectra, whose spread is about 2.4."""
CHANNELS = (24, 48)
"""Of the convolutions over time and frequency, of which each halves both."""
EARLY, LATE = (0.02, 1.0), (1.0, 0.3)
"""How much the two losses count, without known times and with: first, and then."""
IGNORED = -100
"""Where nobody knows what is said at a block."""
WARP, TILT, HIDDEN_BANDS = 0.08, 0.5, 4
"""How far spectra are varied: by a throat's size, a microphone's response, gaps in the spectrum."""


class Listener(nn.Module):
    """Features ``[B, T, FRAMES · bands]`` and mask ``[B, T]`` → scores ``[B, T, K]``; column 0 is
    the blank of connectionist temporal classification.

    The first convolutions have the same weights at every frequency: formants that lie a little
    higher look the same to them, which is most of what another voice changes.
    """

    def __init__(self, bands: int, tokens: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.bands = bands
        first, second = CHANNELS
        self.wide = nn.Conv2d(1, first, 5, stride=2, padding=2)
        self.narrow = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.wide_norm, self.narrow_norm = nn.BatchNorm2d(first), nn.BatchNorm2d(second)
        self.joined = nn.Linear(second * -(-bands // 4), width)
        self.joined_norm = nn.LayerNorm(width)
        self.nearby = nn.Conv1d(width, width, 3, padding=1)
        self.nearby_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList([BothWays(width, hidden), BothWays(2 * hidden, hidden)])
        self.dropout = nn.Dropout(dropout)
        # What is heard nearby goes straight to the end too: it is learned before all that follows.
        self.head = nn.Linear(2 * hidden + width, tokens + 1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        near = self._near(features * SCALE, mask)
        flow = near
        for layer in self.layers:
            flow = self.dropout(layer(flow, mask))
        scores: Tensor = self.head(torch.cat([flow, near], dim=2))
        return scores

    def _near(self, features: Tensor, mask: Tensor) -> Tensor:
        """What is heard at each block and just around it: ``[B, T, W]``, 0 beyond the end."""
        there = mask[..., None]
        grid = torch.unflatten(features * there, 2, (FRAMES, self.bands))
        picture = grid.flatten(1, 2)[:, None]  # [B, 1, 4 T, bands]
        halves = there.expand(-1, -1, FRAMES // 2).flatten(1)[:, None, :, None]
        picture = self.wide_norm(self.wide(picture)).relu() * halves  # [B, 24, 2 T, bands / 2]
        picture = self.narrow_norm(self.narrow(picture)).relu()  # [B, 48, T, bands / 4]
        joined = self.joined(picture.permute(0, 2, 1, 3).flatten(2))
        near: Tensor = self.joined_norm(joined).relu() * there
        around = self.nearby(near.transpose(1, 2)).transpose(1, 2)
        both: Tensor = near + self.dropout(self.nearby_norm(around).relu() * there)
        return both


class BothWays(nn.Module):
    """A GRU forward and another backward from each row's own end: features ``[B, T, F]`` and mask
    ``[B, T]`` → ``[B, T, 2 H]``, 0 beyond the end.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.forth = nn.GRU(width, hidden, batch_first=True)
        self.back = nn.GRU(width, hidden, batch_first=True)

    def forward(self, flow: Tensor, mask: Tensor) -> Tensor:
        steps = mask.sum(1).long()
        if torch.compiler.is_exporting():
            return self._as_operator(flow, steps)
        # Each row turned round by itself: a third faster here than torch's packed sequences.
        places, ends = torch.arange(flow.shape[1], device=flow.device)[None], steps[:, None]
        turned = torch.where(places < ends, ends - 1 - places, places)[..., None]
        forth, _ = self.forth(flow)
        back, _ = self.back(flow.gather(1, turned.expand_as(flow)))
        told = torch.cat([forth, back.gather(1, turned.expand_as(back))], dim=2)
        return told * mask[..., None]

    def _as_operator(self, flow: Tensor, steps: Tensor) -> Tensor:
        """The same by ONNX's own GRU, which takes each row's length; exported from torch's, the
        number of steps would be fixed.
        """
        hidden, time_first = self.forth.hidden_size, flow.transpose(0, 1)
        length, rows = time_first.shape[:2]
        weights = [self._weights(name) for name in ("weight_ih_l0", "weight_hh_l0")]
        biases = torch.cat([self._weights(name) for name in ("bias_ih_l0", "bias_hh_l0")], dim=1)
        told, _ = torch.onnx.ops.symbolic_multi_out(
            "GRU",
            [time_first, *weights, biases, steps.to(torch.int32)],
            {"hidden_size": hidden, "direction": "bidirectional", "linear_before_reset": 1},
            dtypes=[FLOAT, FLOAT],
            shapes=[[length, 2, rows, hidden], [2, rows, hidden]],
        )
        return told.permute(2, 0, 1, 3).flatten(2)

    def _weights(self, name: str) -> Tensor:
        """Forward's and backward's, with ONNX's order of the gates: ``[2, 3 H, …]``."""
        found = []
        for way in (self.forth, self.back):
            reset, update, new = torch.tensor_split(way.get_parameter(name), 3)
            found.append(torch.cat([update, reset, new]))
        return torch.stack(found)


class Served(nn.Module):
    """What is exported: audio in blocks and their mask in, log-probabilities out."""

    def __init__(self, spectra: LogMel, listener: nn.Module) -> None:
        super().__init__()
        self.spectra, self.listener = spectra, listener

    def forward(self, audio: Tensor, mask: Tensor) -> Tensor:
        scores: Tensor = self.listener(self.spectra(audio, mask), mask)
        return scores.log_softmax(2)


def loss(
    scores: Tensor, mask: Tensor, words: Tensor, lengths: Tensor, aligned: Tensor, weights: Tensor
) -> Tensor:
    """Connectionist temporal classification of ``words`` int64 ``[B, L]``, a token on average; and
    cross-entropy where ``aligned`` int64 ``[B, T]`` knows what is said at a block. The latter makes
    times exact: the former alone says a word at any one step within it. ``weights`` ``[2]``: how
    much each counts.
    """
    told = scores.log_softmax(2)
    steps = mask.sum(1).long()
    apart = F.ctc_loss(told.transpose(0, 1), words, steps, lengths, zero_infinity=True)
    known = aligned != IGNORED
    exact = F.cross_entropy(
        scores.transpose(1, 2), aligned, ignore_index=IGNORED, reduction="sum"
    ) / known.sum().clamp(min=1)  # fmt: skip
    total: Tensor = weights[0] * apart + weights[1] * exact
    return total


def varied(features: Tensor, generator: torch.Generator, extent: float = 1.0) -> Tensor:
    """As if by another throat (frequencies stretched, Jaitly and Hinton 2013) and through another
    microphone (a smooth curve over the bands), some bands left out (SpecAugment, Park et al. 2019):
    ``[T, FRAMES · bands]`` in and out. An ``extent`` of 0 changes nothing.
    """
    grid = features.reshape(len(features), FRAMES, -1)
    bands = grid.shape[2]
    draw = 2 * torch.rand(6, generator=generator) - 1
    at = (torch.arange(bands) * (1 + extent * WARP * draw[0])).clamp(max=bands - 1)
    left = at.long().clamp(max=bands - 2)
    grid = torch.lerp(grid[..., left], grid[..., left + 1], at - left)
    across = torch.linspace(-1, 1, bands)
    wave = torch.cos(torch.pi * (across * (1.5 + draw[3] / 2) + draw[4]))
    grid = grid + extent * TILT * (draw[1] * across + draw[2] * wave)
    for _ in range(2):
        gap = int(torch.randint(0, round(extent * HIDDEN_BANDS) + 1, (), generator=generator))
        start = int(torch.randint(0, bands - gap + 1, (), generator=generator))
        grid.narrow(2, start, gap).zero_()
    return grid.flatten(1)
