"""The options of ``modelhub bench``, and what their values may be."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from model_store.places import place

T = TypeVar("T")
BODIES = ("binary", "json")
DEFAULT_CONCURRENCY = (1, 16, 64)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="*", help="models (default: all)")
    _add_where(parser.add_argument_group("where"))
    _add_load(parser.add_argument_group("load"))
    _add_requests(parser.add_argument_group("requests"))
    _add_results(parser.add_argument_group("results"))


def _add_where(group: Any) -> None:
    group.add_argument("--url", metavar="URL", help="a server that runs: http://HOST:PORT")
    group.add_argument(
        "--store", type=place, metavar="DIR",
        help="a folder of models, or a bucket's URL; without --url a server over it is started",
    )  # fmt: skip
    group.add_argument(
        "--header", type=_header, action="append", default=[], metavar="'NAME: VALUE'",
        help="send this with every request (a key, say)",
    )  # fmt: skip


def _add_load(group: Any) -> None:
    group.add_argument(
        "--concurrency", type=_list(_count), metavar="N,…",
        help="closed loop: connections, each with one request in flight (default: 1,16,64; with"
        " --generate 1,16)",
    )  # fmt: skip
    group.add_argument(
        "--rate", type=_list(_positive), default=(), metavar="R,…",
        help="open loop: requests a second, Poisson; latency counts from when each was due",
    )  # fmt: skip
    group.add_argument(
        "--overload", type=_list(_positive), default=(), metavar="X,…",
        help="open loop at so many times the best rate of the closed loop before it",
    )  # fmt: skip
    group.add_argument(
        "--beside", type=_neighbour, metavar="MODEL=N",
        help="meanwhile another client keeps N requests to this model in flight",
    )  # fmt: skip
    group.add_argument(
        "--generate", action="store_true",
        help="stream texts from the models that say them: first token, gaps, tokens a second",
    )  # fmt: skip
    group.add_argument(
        "--texts", type=_count, metavar="N",
        help="with --generate: texts in each window (default: four a connection)",
    )  # fmt: skip
    group.add_argument(
        "--long-prompt", type=_count, metavar="TOKENS",
        help="with --generate: what the streams feel of a prompt of so many tokens among them",
    )  # fmt: skip
    group.add_argument(
        "--window-s", type=_positive, default=2.0, metavar="S",
        help="length of a window; a cell ends when three in a row agree (default: 2)",
    )  # fmt: skip
    group.add_argument(
        "--max-windows", type=_count, default=10, metavar="N", help="or after so many (default: 10)"
    )
    group.add_argument(
        "--limits", action="store_true",
        help="beside each window measure the graph alone (needs --store) and a bare HTTP echo",
    )  # fmt: skip


def _add_requests(group: Any) -> None:
    group.add_argument(
        "--body", type=_list(_body), default=BODIES, metavar="KIND,…",
        help="how tensors are sent: binary, json (default: both)",
    )  # fmt: skip
    group.add_argument(
        "--rows", type=_count, default=1, metavar="N", help="rows in each request (default: 1)"
    )
    group.add_argument(
        "--shape", type=_shape, action="append", default=[], metavar="NAME:D,…",
        help="an input's axes after the row, where the model leaves them open",
    )  # fmt: skip
    group.add_argument(
        "--integers-below", type=_count, default=100, metavar="N",
        help="integers are mostly indices, and no metadata says into how much (default: 100)",
    )  # fmt: skip
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of data and arrivals")
    group.add_argument(
        "--timeout", type=_positive, default=30.0, metavar="S",
        help="give a request up after this (default: 30)",
    )  # fmt: skip


def _add_results(group: Any) -> None:
    group.add_argument("--json", type=Path, metavar="FILE", help="all numbers, for programs")
    group.add_argument("--markdown", type=Path, metavar="FILE", help="the table in Markdown")
    group.add_argument("--plot", type=Path, metavar="FILE.png", help="the table as a picture")


# --- values of options -------------------------------------------------------------------------


def _list(read: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    return lambda text: tuple(read(part) for part in text.split(","))


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1; got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text!r}")
    return value


def _body(text: str) -> str:
    if text not in BODIES:
        raise argparse.ArgumentTypeError(f"expected {' or '.join(BODIES)}; got {text!r}")
    return text


def _neighbour(text: str) -> tuple[str, int]:
    name, equals, connections = text.rpartition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected MODEL=N; got {text!r}")
    return name, _count(connections)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, colon, dims = text.rpartition(":")
    if not colon or not name:
        raise argparse.ArgumentTypeError(f"expected NAME:D,D,…; got {text!r}")
    return name, _list(_count)(dims)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable() or not text.isascii():
        raise argparse.ArgumentTypeError(f"expected 'NAME: VALUE'; got {text!r}")
    return name.strip().lower(), value.strip()
