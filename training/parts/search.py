"""The likeliest sequence that a network would say, by beam search over whole prefixes: for scores,
where nothing has to be quick. Knows no network and no tokenizer.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Scores = Callable[[Tensor, Sequence[Tensor], Tensor], Tensor]
"""Tokens int64 ``[B, T]``, the source's memory and its mask → ``[B, T, V]``."""


def search(
    scores: Scores,
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
    ``length_penalty``. A row is done when as many beams have ended as there are.
    """
    rows = len(mask)
    tokens = torch.full((rows, beams, 1), end)
    totals = torch.full((rows, beams), -torch.inf)
    totals[:, 0] = 0.0
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(rows)]
    active = list(range(rows))
    for length in range(1, max_tokens + 1):
        if not active:
            break
        logs = _last_logs(scores, tokens, memory, mask, active)  # [A, K, V]
        reached = (totals[:, :, None] + logs).flatten(1)
        best, place = reached.topk(min(2 * beams, reached.shape[1]))
        origin, token = place // logs.shape[2], place % logs.shape[2]
        ends = token == end
        for at, rank in ends[:, :beams].nonzero().tolist():
            if best[at, rank] > -torch.inf:
                said = tokens[at, origin[at, rank], 1:].tolist()
                score = float(best[at, rank]) / length**length_penalty
                ended[active[at]].append((score, said))
        totals, kept = best.masked_fill(ends, -torch.inf).topk(beams)
        chosen = token.gather(1, kept)
        before = tokens[torch.arange(len(active))[:, None], origin.gather(1, kept)]
        tokens = torch.cat([before, chosen[:, :, None]], dim=2)
        going = [at for at, row in enumerate(active) if len(ended[row]) < beams]
        for at in going if length == max_tokens else ():
            score = float(totals[at, 0]) / length**length_penalty
            ended[active[at]].append((score, tokens[at, 0, 1:].tolist()))
        tokens, totals = tokens[going], totals[going]
        active = [active[at] for at in going]
    return [max(found)[1] for found in ended]


def _last_logs(
    scores: Scores, tokens: Tensor, memory: Sequence[Tensor], mask: Tensor, active: list[int]
) -> Tensor:
    beams = tokens.shape[1]
    rows = torch.tensor(active).repeat_interleave(beams)
    told = scores(tokens.flatten(0, 1), [part[rows] for part in memory], mask[rows])
    logs = told[:, -1].float().log_softmax(1)
    return logs.view(-1, beams, logs.shape[1])
