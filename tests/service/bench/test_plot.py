import sys
from pathlib import Path

import pytest

from service.bench.errors import BenchError
from service.bench.load import Take
from service.bench.plot import check_library, draw
from service.bench.report import Record, record
from service.bench.windows import Ceiling, Cell, Window

PNG = b"\x89PNG\r\n\x1a\n"


def records() -> list[Record]:
    found = []
    for model in ("small", "big"):
        for body in ("binary", "json"):
            for connections in (1, 16):
                cell = Cell(model, body, "concurrency", connections, rows=1)
                cell.windows.append(Window(Take(1.0, 5, 5, [0.1] * 5)))
                cell.ceilings["echo"] = Ceiling([50.0], [0.1])
                found.append(record(cell))
    slow = Cell("small", "json", "rate", 100, rows=1)
    slow.windows.append(Window(Take(1.0, 5, 5, [0.1] * 5)))
    return [*found, record(slow)]


def test_a_picture_is_written(tmp_path: Path) -> None:
    check_library()
    draw(records(), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(PNG)


def test_a_bench_that_was_stopped_at_once_has_an_empty_picture(tmp_path: Path) -> None:
    nothing = Cell("small", "json", "rate", 100, rows=1)
    nothing.windows.append(Window(Take()))
    draw([record(nothing)], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(PNG)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchError, match=r"pip install 'modelhub\[bench\]'"):
        check_library()
