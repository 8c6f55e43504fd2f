"""Who has which row: those that run have the first ones, and each goes on from its own past."""

import random
from collections.abc import Sequence as Many
from pathlib import Path

import numpy as np
import pytest

from model_store.answers.text import TextAnswer
from service.decoder.lane import FORMS
from service.decoder.rows import Rows
from service.decoder.sequence import Sampling, Sequence
from service.decoder.speech import Speech
from service.runner import Runner
from tests.service.decoder.bundles import Form, walker
from tests.service.workbench import NEVER

ROWS = 10


class House:
    """Rows over a real cache. A row's next token is its owner's number times 100, plus its beam."""

    def __init__(self, folder: Path, form: Form) -> None:
        graph = walker(folder, form).graphs["model"]
        assert graph.decoding
        runner = Runner(folder / graph.file, device="cpu", threads=1)
        self.cache = FORMS[form](runner, graph, graph.decoding, ROWS)
        self.rows = Rows(self.cache)
        self.pieces = TextAnswer().pieces(folder)
        self.names: dict[Sequence, int] = {}

    def add(self, width: int = 1) -> Sequence:
        speech, sampling = Speech(self.pieces()), Sampling(temperature=0, beams=width)
        sequence = Sequence([2], 4, sampling, NEVER, speech, print)
        self.names[sequence] = len(self.names) + 1
        self.rows.add(sequence)
        [row] = sequence.rows
        self.cache.open(row, {})
        self.cache.read(row, [2])
        self.cache.tokens[row] = 100 * self.names[sequence]
        return sequence

    def join(self, sequence: Sequence) -> None:
        self.rows.join(sequence)
        self.cache.tokens[sequence.rows, 0] += np.arange(sequence.width)

    def check(self) -> None:
        rows = self.rows
        assert rows.taken <= ROWS
        for row, owner in enumerate(rows.running):
            assert row in owner.rows
        for owner in rows:
            expected = 100 * self.names[owner] + np.arange(len(owner.rows))
            assert self.cache.tokens[owner.rows, 0].tolist() == expected.tolist()
        taken = [row for owner in rows for row in owner.rows]
        assert len(taken) == len(set(taken))
        assert all(owner.rows[0] >= len(rows.running) for owner in rows.reading)


@pytest.fixture
def house(tmp_path: Path, form: Form) -> House:
    return House(tmp_path, form)


def widths(sequences: Many[Sequence]) -> list[int]:
    return [len(sequence.rows) for sequence in sequences]


def test_last_one_takes_the_row_of_whoever_leaves(house: House) -> None:
    first, second, third = [house.add() for _ in range(3)]
    for sequence in (first, second, third):
        house.join(sequence)
    house.rows.leave(first)
    assert house.rows.running == [third, second]
    assert (third.rows, second.rows, first.rows) == ([0], [1], [])
    house.check()


def test_beams_join_behind_those_that_run_and_move_who_reads_there(house: House) -> None:
    wide, reading = house.add(4), house.add()
    assert (wide.rows, reading.rows) == ([0], [1])
    house.join(wide)
    assert wide.rows == [0, 1, 2, 3]
    assert reading.rows[0] >= 4
    house.check()


def test_two_that_read_in_each_others_rows_change_places(house: House) -> None:
    first, second = house.add(), house.add()
    house.join(second)
    assert (second.rows, first.rows) == ([0], [1])
    house.check()


def test_beams_go_on_from_their_parents(house: House) -> None:
    wide = house.add(3)
    house.join(wide)
    house.rows.reorder(wide, [2, 0, 0])
    assert house.cache.tokens[wide.rows, 0].tolist() == [102, 100, 100]


def test_no_row_is_mixed_up_however_they_come_and_go(house: House) -> None:
    dice = random.Random(0)
    for _ in range(400):
        rows = house.rows
        width = dice.choice([1, 1, 1, 2, 4])
        if rows.taken + width <= ROWS and dice.random() < 0.6:
            house.add(width)
        elif rows.reading and dice.random() < 0.6:
            house.join(dice.choice(rows.reading))
        elif present := list(rows):
            rows.leave(dice.choice(present))
        house.check()
    assert len(house.names) > 100
