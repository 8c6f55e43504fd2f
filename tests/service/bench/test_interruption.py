"""What running streams feel of a long prompt, measured on a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.cli import main
from service.bench import interruption
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


def test_streams_that_end_before_the_prompt_is_read_are_no_measurement(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interruption, "SAID", 3)

    assert main(order(server)) == 2
    assert "a stream ended too soon" in capsys.readouterr().err
