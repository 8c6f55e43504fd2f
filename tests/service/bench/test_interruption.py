"""What running streams feel of a long prompt, measured on a real server."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.cli import main
from service.bench import interruption
from service.bench.control import Control
from service.bench.texts import Heard, Task
from tests.service.bundles import publish
from tests.service.server import Server, serving
from tests.service.talkers import alphabet


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with a model of a long context that says letters."""
    root = tmp_path_factory.mktemp("interrupted")
    publish(root / "models", alphabet)
    with serving(root / "models", root) as server:
        yield server


def order(server: Server, *words: str) -> list[str]:
    return ["bench", "--generate", "--url", str(server.url), "--long-prompt", "3000",
            "--concurrency", "2", "--max-windows", "2", *words]  # fmt: skip


def test_longest_gap_of_the_streams_is_told_in_their_usual_gaps(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(interruption, "SAID", 30_000)
    monkeypatch.setattr(interruption, "CALM_S", 0.05)

    assert main(order(server, "--json", str(tmp_path / "found.json"))) == 0

    [found] = json.loads((tmp_path / "found.json").read_text())["cells"]
    assert (found["model"], found["concurrency"], found["prompt_tokens"]) == ("alphabet", 2, 3000)
    assert found["usual_gap_ms"] > 0
    assert 0 < found["longest_gap_steps"] <= found["longest_gap_steps_worst"]
    assert found["first_token_ms"] > 0
    header, row = capsys.readouterr().out.splitlines()
    assert "longest, in gaps" in header
    assert row.startswith("alphabet")


class Steady:
    """Says a token every hundredth of a second; asked for one, at once."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    async def ask(self, request: bytes, wanted: int) -> None:
        del request
        self.heard.first_s.append(0.0)
        for _ in range(wanted - 1):
            await asyncio.sleep(0.01)
            self.heard.gaps_s.append(0.01)

    def close(self) -> None: ...


async def test_prompt_that_is_read_within_a_gap_is_measured_by_the_gap_it_fell_into(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(control: Control, heard: Heard) -> Steady:
        del control
        return Steady(heard)

    monkeypatch.setattr(interruption, "_connect", connect)
    monkeypatch.setattr(interruption, "CALM_S", 0.1)
    streams = [Task("a", (1,), 10_000)] * 2

    before, during, first_s = await interruption._arrival(
        Control(str(server.url), {}), "alphabet", streams, Task("a", (1,), 1)
    )

    assert before.gaps_s
    assert during.gaps_s
    assert first_s == 0


def test_streams_that_end_before_the_prompt_is_read_are_no_measurement(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interruption, "SAID", 3)

    assert main(order(server)) == 2
    assert "a stream ended too soon" in capsys.readouterr().err
