"""``modelhub bench`` as a person runs it, against a toy server and against the hub itself."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.cli import main
from service.bench import limits
from tests.service.bench.toys import Doubler, Handler, free_port, serving
from tests.service.server import MODELHUB, PATIENCE_S

QUICK = ["--window-s", "0.1", "--max-windows", "2"]


@pytest.fixture
def toy() -> Iterator[str]:
    """Address of a server that does all right."""
    with serving(Doubler()) as (host, port):
        yield f"http://{host}:{port}"


def bench(*arguments: object) -> int:
    return main(["bench", *map(str, arguments)])


def table(out: str) -> list[list[str]]:
    """Rows of the printed table, title and notes apart."""
    return [line.split() for line in out.splitlines()[1:] if not line.startswith("note")]


def test_every_load_and_body_is_a_row(toy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--url", toy, *QUICK, "--concurrency", "2", "--rate", "50") == 0
    out, err = capsys.readouterr()
    assert [row[:3] for row in table(out)] == [
        ["doubler", body, load] for body in ("binary", "json") for load in ("c=2", "50/s")
    ]
    assert err == ""


def test_an_overload_is_a_multiple_of_the_peak(
    toy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--concurrency", "1", "--overload", "0.5", "--body", "json", "--json")
    assert bench("--url", toy, *QUICK, *flags, tmp_path / "b.json") == 0
    closed, open_loop = json.loads((tmp_path / "b.json").read_text())["cells"]
    assert open_loop["rate"] == pytest.approx(0.5 * closed["requests_per_s"], rel=0.5)
    assert closed["of_peak"] is None
    assert 0 < open_loop["of_peak"] < 1
    assert "of the peak" in capsys.readouterr().out


def test_a_neighbour_loads_another_model_meanwhile(
    toy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--concurrency", "1", "--body", "json", "--beside", "doubler=1")
    assert bench("--url", toy, *QUICK, *flags) == 0
    assert bench("--url", toy, *QUICK, "--beside", "nobody=1") == 2
    assert "--beside nobody: it cannot be asked" in capsys.readouterr().err


def test_all_numbers_are_written_for_programs_and_for_people(toy: str, tmp_path: Path) -> None:
    numbers, text, picture = (tmp_path / name for name in ("b.json", "b.md", "b.png"))
    files = ("--json", numbers, "--markdown", text, "--plot", picture)
    flags = ("--rows", "2", "--concurrency", "2", "--body", "json")
    assert bench("doubler", "--url", toy, *QUICK, *flags, *files) == 0
    document = json.loads(numbers.read_text())
    (cell,) = document["cells"]
    assert (cell["model"], cell["body"], cell["concurrency"]) == ("doubler", "json", 2)
    assert cell["rows_per_s"] == 2 * cell["requests_per_s"] > 0
    assert cell["server"]["queue_ms"] == 1
    assert cell["server"]["compute_infer_ms"] == 2
    assert cell["server"]["rows_per_run"] == 2
    assert cell["answers_compared"] > 16
    assert cell["client_cpu_us_per_request"] > 0
    assert cell["errors"] == {}
    assert text.read_text().count("\n") == 3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_wrong_answer_among_many_is_found(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    with serving(Doubler(wrong=lambda turn: turn > 8 and turn % 7 == 0)) as (host, port):
        flags = ("--concurrency", 3, "--body", "binary", "--json", file)
        assert bench("--url", f"http://{host}:{port}", *QUICK, *flags) == 1
    (cell,) = json.loads(file.read_text())["cells"]
    assert set(cell["errors"]) == {"wrong answer"}


def test_answers_that_are_all_alike_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Doubler(factor=0.0)) as (host, port):
        flags = ("--concurrency", 1, "--body", "binary")
        assert bench("--url", f"http://{host}:{port}", *QUICK, *flags) == 0
    assert (
        "note: doubler, binary: answers to different requests are too alike"
        in capsys.readouterr().out
    )


def test_a_server_that_ends_in_the_middle_leaves_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It hangs up on everything that comes once the first kind of body is done."""
    toy, file = Doubler(), tmp_path / "b.json"

    def behave(handler: Handler, body: bytes) -> None:
        ended.append(handler.headers["Content-Type"] == "application/json")
        if any(ended):
            handler.close_connection = True
        else:
            toy(handler, body)

    ended: list[bool] = []
    with serving(behave) as (host, port):
        flags = ("doubler", "--concurrency", 1, "--json", file)
        assert bench("--url", f"http://{host}:{port}", *QUICK, *flags) == 2
    out, err = capsys.readouterr()
    assert [row[1] for row in table(out)] == ["binary"]
    assert "Remote end closed connection without response; this is what there is" in err
    assert len(json.loads(file.read_text())["cells"]) == 1


def test_a_key_goes_with_every_request() -> None:
    toy = Doubler()
    with serving(toy) as (host, port):
        flags = ("--header", "Authorization: Bearer key", "--concurrency", "1", "--body", "json")
        assert bench("--url", f"http://{host}:{port}", *QUICK, *flags) == 0
    assert {headers.get("authorization") for headers in toy.headers} == {"Bearer key"}


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nobody"], "model nobody: "),
        (["--shape", "z:3"], "--shape z: no input has that name; there are: x"),
        (["--shape", "x:4"], "--shape gives [4]"),
        (["--limits", "--store", "."], "--limits --store .: no model"),
        (["--store", "nowhere"], "--store nowhere: expected a folder of models"),
        (["--json", "nowhere/b.json"], "nowhere/b.json: its folder does not exist"),
        (["--plot", "b.nothing"], "--plot b.nothing: expected a name that ends in .png"),
        (["--rate", "0.1"], "--rate: less than one request in a window of 2 s"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    toy: str, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--url", toy, *flags) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.startswith("modelhub: ")
    assert err.count("\n") == 1


def test_a_server_without_models_has_nothing_to_measure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def behave(handler: Handler, _: bytes) -> None:
        handler.answer(b"[]")

    with serving(behave) as (host, port):
        assert bench("--url", f"http://{host}:{port}") == 2
    assert f"http://{host}:{port} has no model ready" in capsys.readouterr().err


def test_a_server_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench() == 2
    assert "--url URL of a running server, or --store DIR" in capsys.readouterr().err
    assert bench("--url", f"http://127.0.0.1:{free_port()}") == 2
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--concurrency", "0"],
        ["--concurrency", "1,two"],
        ["--rate", "-5"],
        ["--rate", "nan"],
        ["--body", "xml"],
        ["--shape", "x"],
        ["--shape", "x:0"],
        ["--header", "no colon"],
        ["--header", "a: b\r\nc: d"],
        ["--timeout", "0"],
    ],
)
def test_a_value_out_of_range_is_named(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        bench("--url", "http://h", *flags)
    assert exit_.value.code == 2
    assert f"argument {flags[0]}: expected " in capsys.readouterr().err


# --- with the hub itself -----------------------------------------------------------------------


def test_the_hub_is_started_measured_under_its_ceilings_and_stopped(
    plain: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "TRY_S", 0.02)
    file = tmp_path / "b.json"
    assert bench("--store", plain, *QUICK, "--concurrency", "3", "--limits", "--json", file) == 0
    out, _ = capsys.readouterr()
    assert len(table(out)) == 2
    cells: list[dict[str, Any]] = json.loads(file.read_text())["cells"]
    assert [cell["body"] for cell in cells] == ["binary", "json"]
    for cell in cells:
        assert cell["errors"] == {}
        assert cell["answers_compared"] > 16
        assert cell["server"]["rows_per_run"] >= 1
        assert cell["server_cpu_us_per_request"] > 0
        assert set(cell["ceilings"]) == {"onnxruntime", "echo"}
        for ceiling in cell["ceilings"].values():
            assert ceiling["pairs"] == cell["windows"]
            assert 0 < ceiling["ratio_low"] <= ceiling["ratio"] <= ceiling["ratio_high"]
    with pytest.raises(ConnectionRefusedError):
        _connect(json.loads(file.read_text())["url"])


def _connect(url: str) -> None:
    import http.client

    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    try:
        connection.connect()
    finally:
        connection.close()


@contextlib.contextmanager
def obeying_sigint() -> Iterator[None]:
    """Children begin as in a terminal. A shell's background ignores Ctrl-C, which is not meant for
    it, and hands that down.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_there_is_and_leaves_no_server(
    plain: Path, tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "b.json"
    loads = ",".join(map(str, range(1, 100)))  # more than anyone waits for
    flags = [*QUICK, "--concurrency", loads, "--body", "json", "--limits", "--json", str(file)]
    with (
        obeying_sigint(),
        subprocess.Popen(
            [MODELHUB, "bench", "--store", plain, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if "MODELHUB_" not in key},
        ) as process,
    ):
        assert process.stdout is not None
        first = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert first[1].split()[:3] == ["mixer", "json", "c=1"]
    assert process.returncode == 130
    assert "modelhub: stopped; this is what there is" in err
    document = json.loads(file.read_text())
    assert document["cells"][0]["concurrency"] == 1
    with pytest.raises(ConnectionRefusedError):
        _connect(document["url"])
