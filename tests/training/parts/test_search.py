"""Beam search beside trying everything."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from training.parts.search import search

END, VOCABULARY = 0, 4


class Table:
    """Scores that depend on the source, the last token and the place, and nothing else."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.logs = torch.randn(3, VOCABULARY, 6, VOCABULARY, generator=generator) * 2
        self.rows: list[int] = []

    def follow(
        self, tokens: Tensor, past: Sequence[Tensor], memory: Sequence[Tensor], mask: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """What is kept of each row are its place and all it said, of its own source."""
        place, said = past if past else (torch.zeros_like(tokens), memory[0][:, None])
        assert len(mask) == len(tokens) == len(memory[0]) == len(place)
        assert torch.equal(said[:, 0], memory[0])
        self.rows.append(len(tokens))
        kept = [place + 1, torch.cat([said, tokens[:, None]], 1)]
        return self.logs[memory[0], tokens, place], kept

    def chance(self, source: int, said: Sequence[int]) -> float:
        """The logarithm, with the end."""
        whole = [END, *said, END]
        return sum(
            float(self.logs[source, one, place].log_softmax(0)[other])
            for place, (one, other) in enumerate(itertools.pairwise(whole))
        )


def find(table: Table, **options: float) -> list[list[int]]:
    sources = torch.arange(3)
    settings = {"end": END, "max_tokens": 4, "length_penalty": 0.0, **options}
    return search(table.follow, [sources], torch.ones(3, 2), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_takes_the_likeliest_token_each_time(seed: int) -> None:
    table = Table(seed)
    for source, said in enumerate(find(table)):
        last = END
        for place in range(4):
            token = int(table.logs[source, last, place].argmax())
            if token == END:
                assert said[place:] == []
                break
            assert said[place] == token
            last = token


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_enough_for_everything_find_the_best_of_all(seed: int, penalty: float) -> None:
    table = Table(seed)
    every = [
        said
        for length in range(4)
        for said in itertools.product(range(1, VOCABULARY), repeat=length)
    ]
    for source, said in enumerate(find(table, beams=300, length_penalty=penalty)):
        if len(said) == 4:
            continue  # cut off: it never ended
        best = max(every, key=lambda s: table.chance(source, s) / (len(s) + 1) ** penalty)
        assert tuple(said) == best


def test_a_row_that_is_done_is_no_longer_run() -> None:
    table = Table(0)
    table.logs[1, END, 0, END] = 50
    find(table)
    assert table.rows[0] == 3
    assert max(table.rows[1:]) == 2


def test_what_never_ends_is_cut() -> None:
    table = Table(0)
    table.logs[..., END] = -50
    assert [len(said) for said in find(table, beams=2)] == [4, 4, 4]
