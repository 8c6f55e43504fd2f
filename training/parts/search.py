"""The likeliest sequence that a network would say, by beam search: for scores. Knows no network and
no tokenizer.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Follow = Callable[
    [Tensor, Sequence[Tensor], Sequence[Tensor], Tensor], tuple[Tensor, Sequence[Tensor]]
]
"""Tokens int64 ``[B]``, what was kept of those before (nothing at first), the source's memory and
its mask → scores of each one's successor ``[B, V]`` and what to keep. The first axis of all is the
row.
"""


def search(
    follow: Follow,
    memory: Sequence[Tensor],
    mask: Tensor,
    *,
    end: int,
    max_tokens: int,
    beams: int = 1,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """Of each row of the memory, without ``end``, which begins and ends all. One beam is greedy.

    A beam's score is the sum of its tokens' log-probabilities, over its length to the power of
    ``length_penalty``. A row is done when as many beams have ended as there are, and no other could
    be better as it is. This is how the server searches, so what is scored is what will be said.
    """
    found = _Search(follow, memory, mask, end, beams, length_penalty)
    for length in range(1, max_tokens + 1):
        if not found.active:
            break
        found.advance(length)
        if length == max_tokens:
            found.cut(length)
        found.drop_done(length)
    return [max(ended)[1] for ended in found.ended]


class _Search:
    """The beams of all rows that are not done: ``active`` of them, ``A``, with ``K`` beams each."""

    def __init__(
        self,
        follow: Follow,
        memory: Sequence[Tensor],
        mask: Tensor,
        end: int,
        beams: int,
        length_penalty: float,
    ) -> None:
        rows = len(mask)
        self.follow, self.end, self.beams, self.penalty = follow, end, beams, length_penalty
        self.tokens = torch.full((rows, beams, 1), end)
        self.totals = torch.full((rows, beams), -torch.inf)
        self.totals[:, 0] = 0.0
        self.ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(rows)]
        self.active = list(range(rows))
        every = torch.arange(rows).repeat_interleave(beams)
        self.memory, self.mask = [part[every] for part in memory], mask[every]
        self.kept: Sequence[Tensor] = ()

    def advance(self, length: int) -> None:
        """One token more of each beam; those that end are noted."""
        scores, kept = self.follow(
            self.tokens[:, :, -1].flatten(), self.kept, self.memory, self.mask
        )
        logs = scores.float().log_softmax(1).view(len(self.active), self.beams, -1)  # [A, K, V]
        reached = (self.totals[:, :, None] + logs).flatten(1)
        # Half of them may be ends, and as many beams go on; one beam takes the likeliest only.
        most = 2 * self.beams if self.beams > 1 else 1
        best, place = reached.topk(min(most, reached.shape[1]))
        origin, token = place // logs.shape[2], place % logs.shape[2]
        ends = token == self.end
        for at, rank in ends.nonzero().tolist():
            if best[at, rank] > -torch.inf:
                self._end(at, int(origin[at, rank]), float(best[at, rank]), length)
        self.totals, chosen = best.masked_fill(ends, -torch.inf).topk(self.beams)
        rows, parents = torch.arange(len(self.active))[:, None], origin.gather(1, chosen)
        said = token.gather(1, chosen)[:, :, None]
        self.tokens = torch.cat([self.tokens[rows, parents], said], dim=2)
        self.kept = [part[(rows * self.beams + parents).flatten()] for part in kept]

    def cut(self, length: int) -> None:
        """No more may be said."""
        for at in range(len(self.active)):
            self._end(at, 0, float(self.totals[at, 0]), length)

    def drop_done(self, length: int) -> None:
        going = [at for at in range(len(self.active)) if not self._is_done(at, length)]
        if len(going) == len(self.active):
            return
        rows = (torch.tensor(going)[:, None] * self.beams + torch.arange(self.beams)).flatten()
        rows = rows.to(torch.int64)  # of none left, the type would be another
        self.memory, self.mask = [part[rows] for part in self.memory], self.mask[rows]
        self.kept = [part[rows] for part in self.kept]
        self.tokens, self.totals = self.tokens[going], self.totals[going]
        self.active = [self.active[at] for at in going]

    def _is_done(self, at: int, length: int) -> bool:
        scores = sorted((score for score, _ in self.ended[self.active[at]]), reverse=True)
        if len(scores) < self.beams:
            return False
        reached: float = float(self.totals[at, 0]) / length**self.penalty
        return reached <= scores[self.beams - 1]

    def _end(self, at: int, beam: int, total: float, length: int) -> None:
        said = self.tokens[at, beam, 1:].tolist()
        self.ended[self.active[at]].append((total / length**self.penalty, said))
