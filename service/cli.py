"""``modelhub serve``: settings from flags and environment, then uvicorn until a signal."""

import argparse
import asyncio
import gc
import importlib.util
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from model_store.errors import StoreError
from model_store.places import open_store, place
from service.bench.cli import add_bench

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.settings import Settings

NEEDED = ("fastapi", "uvicorn", "onnxruntime", "orjson", "pydantic_settings")
BACKLOG = 2048
EXIT_S = 0.5
GC_EVERY = 20_000
"""New objects before Python looks for cycles among them; its own number is 700."""
SHOWN = (
    "store", "repository", "host", "port", "device", "threads", "log_format", "log_level",
)  # fmt: skip
"""Settings with a flag of their own; all of them can be set by environment."""


def add_commands(commands: Any) -> None:
    """Mount this package's commands. Raises ModuleNotFoundError where a library is missing."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    words = "Serve the models of a store over HTTP."
    serve = commands.add_parser("serve", help=words, description=words)
    words = "the folder of models, or the URL of a bucket, s3://bucket/prefix"
    serve.add_argument("--store", type=place, metavar="DIR", help=words)
    words = "which models: all and what is published later (watch, the default), all, or explicit"
    serve.add_argument("--repository", choices=["watch", "all", "explicit"], help=words)
    serve.add_argument("--host", metavar="H", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, metavar="P", help="port to listen on (default: 8000)")
    words = "where graphs run: auto, cpu, cuda, or GPUs to spread models over, cuda:0,cuda:1"
    serve.add_argument("--device", metavar="D", help=words)
    serve.add_argument("--threads", type=int, metavar="N", help="compute threads (0: CPU quota)")
    serve.add_argument("--log-format", choices=["json", "text"], help="how log lines look")
    serve.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    serve.epilog = "Every setting can also be given as MODELHUB_NAME in the environment."
    serve.set_defaults(run=_serve)
    add_bench(commands)


def _serve(arguments: argparse.Namespace) -> int:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from service.settings import Settings

    given = {name: getattr(arguments, name) for name in SHOWN}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        print(f"modelhub: setting {first['loc'][0]}: {first['msg']}", file=sys.stderr)
        return 2
    except SettingsError as error:  # a list in the environment that is not JSON
        print(f"modelhub: {error}", file=sys.stderr)
        return 2
    try:
        open_store(settings.store, settings.cache)
    except StoreError as error:  # a URL that nothing here can read
        print(f"modelhub: {error}", file=sys.stderr)
        return 2
    if isinstance(settings.store, Path) and not settings.store.is_dir():
        print(f"modelhub: --store {settings.store}: expected a folder of models; nothing is there"
              " (modelhub train RECIPE makes one)", file=sys.stderr)  # fmt: skip
        return 2
    return run(settings)


def run(settings: "Settings") -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean stop, 2 where the port is taken."""
    from service.app import create_app
    from service.logs import carry_trace_ids, configure_logging

    configure_logging(settings.log_format, settings.log_level)
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        print(f"modelhub: cannot listen on {settings.host}:{settings.port}: {error.strerror}",
              file=sys.stderr)  # fmt: skip
        return 2
    app = create_app(settings)
    if app.state.hub.tracing:
        carry_trace_ids(lambda: app.state.hub.tracing.trace_id)
    _serve_until_signal(app, settings, listener)
    if not _join_threads(EXIT_S):
        # A graph in the middle of a run or a load cannot be stopped. Python would wait for it, and
        # C++ call it a crash.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _serve_until_signal(app: "FastAPI", settings: "Settings", listener: socket.socket) -> None:
    import uvicorn

    from service.app import encode_error
    from service.httpd import protocol_over

    class Server(uvicorn.Server):
        """uvicorn, but readiness goes first and answering goes on while the drain lasts."""

        drain_begun = False

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.hub.draining = True
            if not settings.drain_s or self.drain_begun:
                super().handle_exit(sig, frame)
                return
            self.drain_begun = True
            self.loop.call_soon_threadsafe(
                self.loop.call_later, settings.drain_s, super().handle_exit, sig, frame
            )

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self.loop = asyncio.get_running_loop()
            await super().startup(sockets)
            if self.started:
                _collect_garbage_seldom()
                _print_urls(*listener.getsockname()[:2])
            for sig in early:
                self.handle_exit(sig, None)

    config = uvicorn.Config(
        app,
        http=protocol_over(app, encode_error),
        ws="none",  # nothing here speaks it; asked for, it is refused like any other
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_s,
    )
    # Signals that come before uvicorn listens for them. It raises its own once more when it is
    # done; by then they have been obeyed.
    early: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda sig, _: early.append(sig))
    Server(config).run(sockets=[listener])


def _collect_garbage_seldom() -> None:
    """What the libraries made stays, and of a request's objects hardly any are in a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_EVERY)


def _listen(host: str, port: int) -> socket.socket:
    if ":" not in host:
        return socket.create_server((host, port), backlog=BACKLOG)
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        (host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=both
    )


def _join_threads(timeout_s: float) -> bool:
    """Wait for all other threads; False where one does not end."""
    end = time.monotonic() + timeout_s
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0.0, end - time.monotonic()))
    return threading.active_count() == 1


def _print_urls(host: str, port: int) -> None:
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"modelhub serves on {base}", flush=True)
    for path, words in (
        ("/", "the hub page"),
        ("/docs", "the API, to try"),
        ("/v1/models", "the listing"),
        ("/readyz", "ready?"),
        ("/metrics", "Prometheus"),
    ):
        print(f"  {base + path:<36}{words}", flush=True)
