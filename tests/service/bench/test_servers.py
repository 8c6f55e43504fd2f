import os
from pathlib import Path

import pytest

from service.bench import servers
from service.bench.control import Control
from service.bench.errors import BenchError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_echo_sends_back_what_comes_and_ends_with_its_block() -> None:
    with servers.echo() as process:
        reply = Control(process.url).call("POST", "/v2/models/any/infer", b"\x00some bytes")
        assert (reply.status, reply.body) == (200, b"\x00some bytes")
        cpu_s = process.cpu_s()
        assert cpu_s is not None
        assert cpu_s > 0
    assert not alive(process.pid)
    assert process.cpu_s() is None


def test_the_hub_is_ready_when_its_block_begins(plain: Path) -> None:
    with servers.hub(plain) as process:
        assert Control(process.url).call("GET", "/readyz").status == 200
    assert not alive(process.pid)


def test_a_server_that_ends_at_once_is_one_clear_line(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match="modelhub serve ended before it listened"),
        servers.hub(tmp_path / "nowhere"),
    ):
        pytest.fail("there is nothing to serve")
