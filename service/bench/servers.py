"""Servers of our own, each a process of its own: ``modelhub serve``, and the echo."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from model_store.places import Place
from service.bench.control import Control
from service.bench.errors import BenchError

READY_S = 120.0
STOP_S = 20.0
SERVE = ("-c", "from model_store.cli import main; raise SystemExit(main())", "serve")
BENCH = (*SERVE[:-1], "bench")
NEIGHBOUR_S = 3.0
"""It has begun by then."""
ECHO = ("-m", "service.bench.echo")
ADDRESS = " on http://"
"""How the line begins, behind its first words, that tells where a server listens."""
CLOCK_TICKS_PER_S = 100
"""The unit of /proc; the kernel's ABI fixes it."""


@dataclass(frozen=True)
class Process:
    """A running server."""

    url: str
    pid: int

    def cpu_s(self) -> float | None:
        """CPU time of all its threads; None where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S


@contextlib.contextmanager
def hub(store: Place) -> Iterator[Process]:
    """``modelhub serve`` over the store on a free port, ready. Raises BenchError."""
    flags = ("--store", str(store), "--host", "127.0.0.1", "--port", "0", "--log-level", "warning")
    with _server("modelhub serve", *SERVE, *flags) as process:
        _await_ready(process)
        yield process


@contextlib.contextmanager
def echo() -> Iterator[Process]:
    """A bare uvicorn that sends every body back."""
    with _server("the echo server", *ECHO) as process:
        yield process


@contextlib.contextmanager
def neighbour(url: str, model: str, connections: int) -> Iterator[None]:
    """Another bench, whose only use is the load it makes."""
    load = ("--concurrency", str(connections), "--body", "binary", "--max-windows", "1000000")
    process = subprocess.Popen(  # noqa: S603 - this very Python with arguments from above
        [sys.executable, *BENCH, model, "--url", url, *load, "--window-s", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        time.sleep(NEIGHBOUR_S)
        if process.poll() is not None:
            raise BenchError(
                f"--beside {model}: it cannot be asked; modelhub bench {model} says why"
            )
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _server(name: str, *arguments: str) -> Iterator[Process]:
    # A session of its own: Ctrl-C is for the bench, which then stops its servers itself.
    process = subprocess.Popen(  # noqa: S603 - this very Python with arguments from above
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        if process.stdout is None:
            raise BenchError(f"{name} has no output to read its address from")
        yield Process(_address(name, process.stdout), process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _address(name: str, lines: IO[str]) -> str:
    for line in lines:
        _, found, address = line.strip().partition(ADDRESS)
        if found:
            return f"http://{address}"
    raise BenchError(f"{name} ended before it listened")


def _await_ready(process: Process) -> None:
    control = Control(process.url)
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        reply = control.call("GET", "/readyz")
        if reply.status == 200:
            return
        time.sleep(0.05)
    raise BenchError(f"modelhub serve is not ready after {READY_S:.0f} s: {reply.reason}")
