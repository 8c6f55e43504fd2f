"""``modelhub bench``: a plan from its options, then a line of the table for each cell it does."""

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.bench.options import DEFAULT_CONCURRENCY, add_options

if TYPE_CHECKING:
    from service.bench.bench import Bench
    from service.bench.plan import Plan
    from service.bench.report import Column

WORDS = "Load a server of the V2 protocol, check its answers and compare it with what is possible."
STOPPED = 130


def add_bench(commands: Any) -> None:
    """Mount ``bench``."""
    bench = commands.add_parser("bench", help=WORDS, description=WORDS)
    add_options(bench)
    bench.set_defaults(run=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from service.bench.errors import BenchError

    # Servers that this started must not stay behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        plan = _plan(arguments)
        return _generate(arguments) if arguments.generate else _run(arguments, plan)
    except BenchError as error:
        print(f"modelhub: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)


def _generate(arguments: argparse.Namespace) -> int:
    from service.bench import generate, interruption, report

    if arguments.long_prompt:
        columns, found = interruption.columns(), generate.interrupt(arguments)
    else:
        columns = generate.columns(limits=arguments.limits)
        found = (generate.record(cell) for cell in generate.run(arguments))
    records: list[report.Record] = []
    try:
        for record in found:
            if not records:
                print(report.line([column.title for column in columns], columns))
            records.append(record)
            print(report.line(report.row(record, columns), columns), flush=True)
    finally:
        if records:
            generate.write(arguments, records, columns)
    return 0


def _plan(arguments: argparse.Namespace) -> "Plan":
    from service.bench.errors import BenchError
    from service.bench.plan import Plan

    if not arguments.url and not arguments.store:
        raise BenchError("say where: --url URL of a running server, or --store DIR to start one")
    if isinstance(arguments.store, Path) and not arguments.store.is_dir():
        raise BenchError(f"--store {arguments.store}: expected a folder of models")
    if arguments.plot:
        if arguments.plot.suffix != ".png":
            raise BenchError(f"--plot {arguments.plot}: expected a name that ends in .png")
        from service.bench.plot import check_library

        check_library()
    for path in (arguments.json, arguments.markdown, arguments.plot):
        if path and not path.absolute().parent.is_dir():
            raise BenchError(f"{path}: its folder does not exist")
    if any(rate * arguments.window_s < 1 for rate in arguments.rate):
        raise BenchError(f"--rate: less than one request in a window of {arguments.window_s:g} s")
    concurrency = arguments.concurrency or (() if arguments.rate else DEFAULT_CONCURRENCY)
    return Plan(
        models=tuple(arguments.models),
        concurrency=concurrency,
        overloads=arguments.overload,
        rates=arguments.rate,
        bodies=arguments.body,
        window_s=arguments.window_s,
        max_windows=arguments.max_windows,
        rows=arguments.rows,
        seed=arguments.seed,
        shapes=dict(arguments.shape),
        integers_below=arguments.integers_below,
        timeout_s=arguments.timeout,
    )


def _run(arguments: argparse.Namespace, plan: "Plan") -> int:
    from service.bench import report

    with _assembled(arguments, plan) as bench:
        code = _measure(bench, report.columns(limits=arguments.limits))
        for note in bench.notes:
            print(f"note: {note}")
        records = [report.record(cell) for cell in bench.measured]
        _write(arguments, report.document(records, plan, bench.control.url, bench.notes))
    return code or int(any(record["errors"] for record in records))


def _measure(bench: "Bench", columns: "list[Column]") -> int:
    """Print a row for each cell; the exit code of a run that ended early, with what it had."""
    from service.bench.errors import BenchError

    told, code = 0, 0
    try:
        for _ in bench.run():
            told = _tell(bench, columns, told)
    except KeyboardInterrupt:
        print("\nmodelhub: stopped; this is what there is", file=sys.stderr)
        code = STOPPED
    except BenchError as error:
        if not bench.measured:
            raise
        print(f"modelhub: {error}; this is what there is", file=sys.stderr)
        code = 2
    _tell(bench, columns, told)
    return code


def _tell(bench: "Bench", columns: "list[Column]", told: int) -> int:
    """Print the rows that nobody has seen; how many have been seen now."""
    from service.bench import report

    for cell in bench.measured[told:]:
        if not told:
            print(report.line([column.title for column in columns], columns))
        print(report.line(report.row(report.record(cell), columns), columns), flush=True)
        told += 1
    return told


def _write(arguments: argparse.Namespace, document: dict[str, Any]) -> None:
    from service.bench import report
    from service.bench.errors import BenchError

    records = document["cells"]
    try:
        if arguments.json:
            arguments.json.write_text(json.dumps(document, indent=1) + "\n")
        if arguments.markdown:
            columns = report.columns(limits=arguments.limits)
            arguments.markdown.write_text(report.markdown(records, columns))
        if arguments.plot:
            from service.bench.plot import draw

            draw(records, arguments.plot)
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot write: {error}") from None


@contextlib.contextmanager
def _assembled(arguments: argparse.Namespace, plan: "Plan") -> Iterator["Bench"]:
    """The bench with the servers it needs, for as long as it needs them."""
    from service.bench import servers
    from service.bench.bench import Bench
    from service.bench.control import Control

    with contextlib.ExitStack() as stack:
        process = None if arguments.url else stack.enter_context(servers.hub(arguments.store))
        url = process.url if process else arguments.url
        control = Control(url, dict(arguments.header))
        ceilings = None
        if arguments.limits:
            from service.bench.ceilings import Ceilings

            echo = stack.enter_context(servers.echo())
            ceilings = Ceilings(arguments.store, echo, plan.window_s)
        if arguments.beside:
            stack.enter_context(servers.neighbour(url, *arguments.beside))
        yield Bench(plan, control, process, ceilings)
