"""What is learned of a graph at load: whether its rows may share a run, and how it runs best."""

import itertools
import json
import pwd
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.manifest import Draft
from model_store.spec import Tensors
from service import tuning
from service.errors import OutOfMemory
from service.runner import Runner
from service.tuning import INLINE_BATCH_S, INLINE_ROW_S, Notebook, Tuning, sweep, why_not_batch
from tests.service.bundles import sensor, shades, tide
from tests.service.odd_bundles import crowd, dice, greedy, hermit, quantised, turned

ROW = {"table": np.array([[1, -2, 0.5]], np.float32)}
SENSED = {"table": np.array([[1, -2, 0]], np.float32)}

# --- may rows share a run? ---------------------------------------------------------------------


def verdict(maker: Callable[[Path], Draft], folder: Path, row: Tensors) -> str:
    maker(folder)
    return why_not_batch(Runner(folder / "model.onnx", threads=1).run, row)


@pytest.mark.parametrize(
    ("maker", "row"),
    [
        (sensor, SENSED),
        (shades, {"image": np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)}),
        (tide, {"series": np.arange(8, dtype=np.float32).reshape(1, 4, 2)}),
        (greedy, {"table": np.array([[0, 1]], np.float32)}),
    ],
)
def test_graph_whose_rows_keep_to_themselves_may_batch(
    tmp_path: Path, maker: Callable[[Path], Draft], row: Tensors
) -> None:
    assert verdict(maker, tmp_path, row) == ""


@pytest.mark.parametrize(
    ("maker", "reason"),
    [
        (crowd, "a row's answer among 2 differs from its answer alone"),
        (quantised, "a row's answer among 2 differs from its answer alone"),
        (turned, "output vector has shape [3, 1] for 1 rows"),
        (hermit, "it fails on 2 rows ("),
    ],
)
def test_graph_that_gives_a_row_another_answer_in_company_is_found_out(
    tmp_path: Path, maker: Callable[[Path], Draft], reason: str
) -> None:
    assert verdict(maker, tmp_path, ROW).startswith(reason)


def test_graph_that_draws_random_numbers_is_not_accused(tmp_path: Path) -> None:
    assert verdict(dice, tmp_path, ROW) == ""


def test_company_of_equal_rows_would_not_show_a_mean_over_the_batch(tmp_path: Path) -> None:
    crowd(tmp_path)
    run = Runner(tmp_path / "model.onnx", threads=1).run
    same = np.repeat(ROW["table"], 3, axis=0)
    assert (run({"table": same})["vector"] == run(ROW)["vector"]).all()


def test_graph_that_takes_no_other_row_than_the_example_is_judged_by_that_one() -> None:
    def run(tensors: Tensors) -> Tensors:
        if not (tensors["table"] == ROW["table"]).all():
            raise ValueError("no such row")
        return {"y": tensors["table"] * len(tensors["table"])}

    assert "among 2" in why_not_batch(run, ROW)


@pytest.mark.parametrize("fails_on", [2, 3])
def test_graph_that_fails_on_few_rows_says_on_how_many(fails_on: int) -> None:
    def run(tensors: Tensors) -> Tensors:
        if len(tensors["table"]) == fails_on:
            raise ValueError("too many\nand more of it")
        return tensors

    assert why_not_batch(run, ROW) == f"it fails on {fails_on} rows (too many)"


@pytest.mark.parametrize(
    ("difference", "dtype", "same"),
    [
        (0, "float32", True),
        (1e-6, "float32", True),
        (1e-2, "float32", False),
        (1e-3, "float16", True),
        (0.5, "float16", False),
        (1, "uint8", True),
        (2, "uint8", False),
        (1, "int64", False),
        (0, "int64", True),
        (1, "bool", False),
    ],
)
def test_last_digits_are_no_difference_and_more_is(
    difference: float, dtype: str, same: bool
) -> None:
    def run(tensors: Tensors) -> Tensors:
        rows = len(tensors["table"])
        answer = np.ones((rows, 2)) + np.array([[0, difference if rows > 1 else 0]])
        if dtype == "bool":
            answer = answer > 1
        return {"y": answer.astype(dtype)}

    assert (why_not_batch(run, ROW) == "") is same


def test_answers_that_are_no_numbers_or_words_are_compared_too() -> None:
    def run(tensors: Tensors, grow: bool) -> Tensors:
        rows = len(tensors["text"])
        words = np.array([f"{word}{rows if grow else 1}" for word in tensors["text"]], object)
        return {"y": words, "z": np.full((rows, 1), np.nan)}

    row = {"text": np.array(["good"], object)}
    assert why_not_batch(lambda tensors: run(tensors, False), row) == ""
    assert "among 2" in why_not_batch(lambda tensors: run(tensors, True), row)


# --- how does it run best? ---------------------------------------------------------------------


class Clock(threading.local):
    """Time that only a run takes; each thread has its own, and of its core a share."""

    now = 0.0
    share = 1.0

    def thread_time(self) -> float:
        return self.now * Clock.share

    def perf_counter(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr("service.tuning.time", clock)
        yield clock


@dataclass
class Cost:
    """A run that takes so long, and a bit more for each row."""

    clock: Clock
    fixed_s: float
    row_s: float
    fits: int = 1_000_000

    def __call__(self, tensors: Tensors) -> Tensors:
        rows = len(tensors["table"])
        if rows > self.fits:
            raise OutOfMemory("no room")
        self.clock.now += self.fixed_s + rows * self.row_s
        return tensors


def swept(alone: Cost, single: Cost | None = None, **options: Any) -> Tuning:
    settings = {"cores": 1, "max_rows": 64, "inline": True, **options}
    return sweep(alone, single or alone, ROW, **settings)


def test_tiny_graph_runs_on_the_event_loop_in_batches_that_do_not_hold_it(clock: Clock) -> None:
    found = swept(Cost(clock, 50e-6, 50e-6))
    assert found.inline
    assert found.rows == 8  # 16 rows would take 0.85 ms
    assert INLINE_BATCH_S >= 50e-6 + 8 * 50e-6
    assert found.rows_per_s == pytest.approx(8 / (50e-6 + 8 * 50e-6), rel=1e-3)
    assert swept(Cost(clock, 50e-6, 1e-6)).rows == 64  # never more than it may


@pytest.mark.parametrize(("first_s", "inline"), [(0.9, True), (1.1, False)])
def test_row_that_takes_longer_than_handing_it_over_gets_a_thread(
    clock: Clock, first_s: float, inline: bool
) -> None:
    assert swept(Cost(clock, 0, INLINE_ROW_S * first_s)).inline is inline


def test_graph_whose_time_depends_on_its_input_is_never_run_on_the_event_loop(
    clock: Clock,
) -> None:
    assert not swept(Cost(clock, 50e-6, 1e-6), inline=False).inline


def test_batch_is_the_smallest_that_comes_close_to_the_best_rate(clock: Clock) -> None:
    # 1.062 ms for each of 16 rows, 1.031 of 32, 1.016 of 64.
    assert swept(Cost(clock, 1e-3, 1e-3)).rows == 32
    assert swept(Cost(clock, 0, 2e-3)).rows == 1  # more together gain nothing
    assert swept(Cost(clock, 5e-3, 0)).rows == 64  # all together cost no more than one
    assert swept(Cost(clock, 5e-3, 0), max_rows=10).rows == 8


def test_larger_batches_are_not_tried_once_two_sizes_gained_nothing(clock: Clock) -> None:
    sizes: list[int] = []
    cost = Cost(clock, 0, 2e-3)

    def run(tensors: Tensors) -> Tensors:
        sizes.append(len(tensors["table"]))
        return cost(tensors)

    sweep(run, run, ROW, cores=1, max_rows=64, inline=False)
    assert set(sizes) == {1, 2, 4}


def test_slow_graph_is_measured_no_longer_than_it_is_worth(clock: Clock) -> None:
    found = swept(Cost(clock, 2.0, 0))
    assert (found.rows, found.inline) == (1, False)


def test_sizes_that_do_not_fit_the_memory_are_left_out(clock: Clock) -> None:
    assert swept(Cost(clock, 5e-3, 0, fits=5)).rows == 4
    found = swept(Cost(clock, 5e-3, 0, fits=5), Cost(clock, 5e-3, 0, fits=2), cores=2)
    assert found.rows <= 4


@pytest.mark.parametrize(("single_s", "pays"), [(4e-3, True), (7.95e-3, False), (12e-3, False)])
def test_runs_side_by_side_have_to_pay_for_the_second_session(
    clock: Clock, single_s: float, pays: bool
) -> None:
    # Two cores together take 4 ms for a row; two runs of one core each beat that below 8 ms.
    found = swept(Cost(clock, 0, 4e-3), Cost(clock, 0, single_s), cores=2)
    assert found.side_by_side is pays
    assert not found.inline
    best = 2 / single_s if pays else 1 / 4e-3
    assert found.rows_per_s == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize(("share", "quiet"), [(1.0, True), (0.9, True), (0.8, False), (0.5, False)])
def test_measurement_on_a_machine_that_was_busy_is_told_from_a_quiet_one(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, share: float, quiet: bool
) -> None:
    monkeypatch.setattr(Clock, "share", share)
    assert swept(Cost(clock, 0, 4e-3), cores=2).quiet is quiet


# --- remembering it ----------------------------------------------------------------------------

LEARNED = Tuning(8, inline=True, side_by_side=False, reason="why", rows_per_s=12.5)


def test_what_was_learned_is_read_back(tmp_path: Path) -> None:
    book = Notebook(tmp_path / "not" / "there" / "yet")
    assert book.read("k") is None
    book.write("k", LEARNED)
    assert Notebook(tmp_path / "not" / "there" / "yet").read("k") == LEARNED
    assert book.read("other") is None
    book.write("k", Tuning(2))
    assert book.read("k") == Tuning(2)


DAMAGED = {
    "empty": b"",
    "half": b'{"rows": 8, "inl',
    "no mapping": b"[8]",
    "nothing": b"null",
    "deep": b"[" * 100_000,
    "not text": b"\xff\xfe",
    "unknown field": b'{"rows": 8, "speed": 1}',
    "field missing": b'{"inline": true}',
    "rows a word": b'{"rows": "many"}',
    "rows zero": b'{"rows": 0}',
    "rows negative": b'{"rows": -8}',
    "rows a fraction": b'{"rows": 1.5}',
    "rows true": b'{"rows": true}',
    "inline a word": b'{"rows": 8, "inline": "no"}',
    "reason a number": b'{"rows": 8, "reason": 5}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_as_good_as_none_and_is_replaced(tmp_path: Path, name: str) -> None:
    book = Notebook(tmp_path)
    book.write("k", LEARNED)
    (file,) = (tmp_path / "tuning").iterdir()
    file.write_bytes(DAMAGED[name])
    assert book.read("k") is None
    book.write("k", LEARNED)
    assert book.read("k") == LEARNED


def test_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("a file where the folder should be")
    book = Notebook(tmp_path)
    book.write("k", LEARNED)
    assert book.read("k") is None
    assert (tmp_path / "tuning").read_text() == "a file where the folder should be"


def test_folder_in_the_home_of_someone_without_one_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody(_: int) -> Any:
        raise KeyError("no such user")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    book = Notebook(Path("~/.cache/modelhub"))
    book.write("k", LEARNED)
    assert book.read("k") is None
    assert not Path("~").exists()


def test_write_that_fails_halfway_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    book = Notebook(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        book.write("k", LEARNED)
    assert list((tmp_path / "tuning").iterdir()) == []


def test_file_is_plain_json_that_a_person_may_read(tmp_path: Path) -> None:
    Notebook(tmp_path).write("k", LEARNED)
    (file,) = (tmp_path / "tuning").iterdir()
    assert json.loads(file.read_text())["rows"] == 8
    assert file.stat().st_size < 1000


def test_key_depends_on_every_part_and_on_what_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = ["digest", "1.20", "CPUExecutionProvider", "a processor", 2, 64]
    keys = {tuning.key(*parts)}
    for place in range(len(parts)):
        keys.add(tuning.key(*parts[:place], "other", *parts[place + 1 :]))
        keys.add(tuning.key(*parts[:place], *parts[place + 1 :]))
    keys |= {tuning.key(*order) for order in itertools.islice(itertools.permutations(parts), 1, 9)}
    monkeypatch.setattr(tuning, "SCHEMA", tuning.SCHEMA + 1)
    keys.add(tuning.key(*parts))
    assert len(keys) == 1 + 2 * len(parts) + 8 + 1
    assert all(key.isalnum() for key in keys)
