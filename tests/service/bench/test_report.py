import json

import pytest

from service.bench import report
from service.bench.load import Take
from service.bench.plan import Plan
from service.bench.report import Record, columns, document, line, markdown, number, record, row
from service.bench.split import STAGES, Split
from service.bench.windows import Ceiling, Cell, Window


def cell() -> Cell:
    """Four windows of two-row requests; the first is of a server that was still cold."""
    found = Cell("cnn_small", "binary", "concurrency", 16, rows=2)
    for seconds, completed in ((2.0, 7), (2.0, 100), (2.0, 100), (1.0, 50)):
        take = Take(seconds, completed, completed + 10, [0.004] * completed, 0.001 * completed)
        split = Split(
            4 * completed,
            completed,
            dict.fromkeys(STAGES, completed),
            dict.fromkeys(STAGES, completed * 3_000_000),
        )
        found.windows.append(Window(take, split, server_cpu_s=0.002 * (completed + 10)))
    found.checked = 12
    found.ceilings["onnxruntime"] = Ceiling([80, 100, 100, 125], [0.4, 0.5, 0.5, 0.6], "2 × 1")
    return found


def cells_by_title(found: Record, *, limits: bool) -> dict[str, str]:
    titles = [column.title for column in columns(limits=limits)]
    return dict(zip(titles, row(found, columns(limits=limits)), strict=True))


def test_numbers_are_of_the_last_three_windows_and_ratios_of_all_pairs() -> None:
    found = record(cell())
    assert (found["requests_per_s"], found["rows_per_s"]) == (50, 100)
    assert (found["p50_ms"], found["p99_ms"]) == (4, 4)
    assert (found["windows"], found["stable"]) == (4, True)
    assert found["client_cpu_us_per_request"] == pytest.approx(1000)
    assert found["server_cpu_us_per_request"] == pytest.approx(2000)
    assert found["server"] == {f"{stage}_ms": 3.0 for stage in STAGES} | {"rows_per_run": 4}
    ceiling = found["ceilings"]["onnxruntime"]
    assert (ceiling["ratio"], ceiling["ratio_low"], ceiling["ratio_high"]) == (0.5, 0.4, 0.6)
    assert (ceiling["requests_per_s"], ceiling["rows_per_s"]) == (100, 200)


def test_remarks_say_what_was_refused_and_how_near_the_peak_it_stayed() -> None:
    found = cell()
    found.peak_per_s = 100.0
    found.windows[-1].take.refused_s = [0.001] * 99 + [0.004]
    numbers = record(found)
    assert (numbers["refused"], numbers["refused_p99_ms"], numbers["of_peak"]) == (100, 4, 0.5)
    remarks = cells_by_title(numbers, limits=False)["remarks"]
    assert remarks == "100 refused, p99 4 ms, 0.50 of the peak"


def test_the_table_has_a_word_for_what_was_not_measured() -> None:
    bare = Cell("m", "json", "rate", 100, rows=1)
    bare.windows.append(Window(Take()))
    assert json.dumps(record(bare), allow_nan=False)
    shown = cells_by_title(record(bare), limits=True)
    assert shown["load"] == "100/s"
    assert {shown[title] for title in ("p50 ms", "queue ms", "rows/run", "echo req/s")} == {"–"}


def test_the_table_shows_ceilings_only_where_they_were_asked_for() -> None:
    found = record(cell())
    shown = cells_by_title(found, limits=True)
    assert shown["graph rows/s"] == "200"
    assert "0.50 (0.40–0.60)" in row(found, columns(limits=True))
    assert "graph rows/s" not in cells_by_title(found, limits=False)


def test_whatever_went_wrong_stands_in_the_remarks() -> None:
    bad = cell()
    bad.windows.pop()
    bad.errors.update({"503": 2, "timeout": 1})
    bad.windows[-1].take.late = 4
    remarks = cells_by_title(record(bad), limits=False)["remarks"]
    assert remarks == "2 × 503, 1 × timeout, 4 late, not stable"


def test_rows_stand_under_their_titles() -> None:
    shown = columns(limits=True)
    found = row(record(cell()), shown)
    head, body = line([column.title for column in shown], shown), line(found, shown)
    assert head.index("requests/s") + len("requests/s") == body.index(" 50 ") + 3
    assert "\n" not in head + body


def test_the_markdown_table_is_as_wide_in_every_row() -> None:
    lines = markdown([record(cell())] * 2, columns(limits=True)).splitlines()
    assert len(lines) == 4
    assert len({text.count("|") for text in lines}) == 1
    assert lines[2].startswith("| cnn_small | binary | c=16 | 50 | 100 | 4 |")


def test_the_document_is_json_and_holds_the_plan() -> None:
    plan = Plan(("cnn_small",), shapes={"x": (1, 2)})
    text = json.dumps(document([record(cell())], plan, "http://h:1", ["a note"]), allow_nan=False)
    read = json.loads(text)
    assert read["cells"][0]["model"] == "cnn_small"
    assert (read["plan"]["window_s"], read["plan"]["shapes"]) == (2.0, {"x": [1, 2]})
    assert (read["url"], read["notes"]) == ("http://h:1", ["a note"])
    assert read["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, report.NOTHING),
        (0.0, "0"),
        (0.012345, "0.0123"),
        (7.0, "7"),
        (12.345, "12.3"),
        (123.45, "123"),
        (32109.8, "32,110"),
    ],
)
def test_a_number_has_the_digits_that_count(value: float | None, words: str) -> None:
    assert number(value) == words
