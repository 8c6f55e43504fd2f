"""The ``modelhub`` command: looks after the store, and mounts what the other packages offer.

Other packages add commands through the entry point ``modelhub.commands``; a package whose libraries
are not installed offers none, and ``modelhub --help`` says what to install.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

from model_store.errors import ItemError, NotFound, StoreError
from model_store.importing import Said, described, import_model
from model_store.manifest import EXPLAIN, Batching, Manifest
from model_store.places import open_copies, open_store, place

UNPUBLISHED = "not published by modelhub: no digests to check"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0 done, 1 found something wrong, 2 asked wrongly."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "run" not in arguments:
        parser.print_help()
        return 2
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()  # a reader that has gone is noticed here, not while Python shuts down
    except StoreError as error:
        print(f"modelhub: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelhub", description="Train, keep and serve models.")
    parser.add_argument("--version", action="version", version=f"modelhub {version('modelhub')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_store_commands(commands)
    absent = []
    for point in entry_points(group="modelhub.commands"):
        try:
            point.load()(commands)
        except ModuleNotFoundError as error:
            absent.append(f"{point.name} needs {error.name}")
    if absent:
        parser.epilog = f"Not installed: {'; '.join(absent)} (pip install 'modelhub[serve,train]')."
    return parser


def store_option(parser: argparse.ArgumentParser) -> None:
    """``--store DIR`` or a URL, the same in every command."""
    parser.add_argument(
        "--store",
        type=place,
        default=place(os.environ.get("MODELHUB_STORE", "models")),
        metavar="DIR",
        help="the folder of models, or the URL of a bucket, s3://bucket/prefix"
        " (default: $MODELHUB_STORE, else ./models)",
    )


def _add_store_commands(commands: Any) -> None:
    def command(name: str, run: Any, words: str, *positional: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
        for word in positional:
            parser.add_argument(word.lower(), metavar=word)
        store_option(parser)
        parser.add_argument("--json", action="store_true", help="print JSON for programs")
        parser.set_defaults(run=run)
        return parser

    command("list", _list, "List the models in the store.")
    command("show", _show, "Show all about one model.", "REF")
    example = command("example", _example, "Print a request that works, to try a model.", "REF")
    example.add_argument("--verb", help="for this verb (default: the model's first)")
    example.add_argument(
        "--raw", action="store_true", help="the item alone, as the raw body (a PNG, a CSV, a text)"
    )
    bring = command("import", _import, "Publish a model made elsewhere.", "PATH")
    bring.description = (
        "Publish a model made elsewhere: PATH is the folder of a decoder as Optimum exports it, or"
        " an .onnx file."
    )
    bring.add_argument("--name", required=True, help="publish it under this name")
    bring.add_argument("--license", metavar="TEXT", help="its licence (default: unknown)")
    bring.add_argument("--source", metavar="TEXT", help="where it comes from")
    bring.add_argument("--context", type=int, metavar="N", help="tokens of a prompt and its answer"
                       " (default: as config.json says)")  # fmt: skip
    bring.add_argument("--task", metavar="T", help="what it does (default: by its kind)")
    bring.add_argument("--description", metavar="TEXT", help="in one sentence, for its readers")
    verify = command("verify", _verify, "Hash every file and compare with the manifest.")
    verify.add_argument("ref", metavar="REF", nargs="?", help="one version (default: all)")
    command("rm", _remove, "Remove one version (name@7), or all of a model (name).", "REF")
    cache = command("cache", _cache, "Show the copies of what lies in buckets, and their size.")
    cache.add_argument("--clear", action="store_true", help="delete them; they are fetched again")
    alias = command("alias", _alias, "Point an alias at a version.", "NAME", "ALIAS")
    group = alias.add_mutually_exclusive_group(required=True)
    group.add_argument("version", metavar="VERSION", nargs="?", type=int)
    group.add_argument("--drop", action="store_true", help="drop the alias instead")


def _list(arguments: argparse.Namespace) -> int:
    store = open_store(arguments.store)
    rows: list[dict[str, Any]] = []
    for name in store.names():
        try:
            manifest = store.open(name).manifest
        except StoreError as error:
            rows.append({"name": name, "error": str(error)})
            continue
        rows.append(
            {
                "name": name,
                "version": manifest.version,
                "versions": store.versions(name),
                "aliases": store.aliases(name),
                "family": manifest.family,
                "category": manifest.category,
                "task": manifest.task,
                "verbs": manifest.abilities,
                "metrics": manifest.metrics,
                "size_bytes": manifest.size_bytes,
            }
        )
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif not rows:
        print(f"no models in {arguments.store} (modelhub train RECIPE makes one)")
    else:
        _print_table(rows)
    return 0


def _print_table(rows: list[dict[str, Any]]) -> None:
    lines = [("NAME", "VERSION", "FAMILY", "TASK", "VERBS", "SCORE", "SIZE")]
    for row in (row for row in rows if "error" not in row):
        metric, value = next(iter(row["metrics"].items()), ("", 0.0))
        score = f"{metric} {value:.4g}" if metric else ""
        size = f"{row['size_bytes'] / 1e6:.1f} MB"
        verbs = ", ".join(row["verbs"])
        fields = (row["name"], str(row["version"]), row["family"], row["task"], verbs, score, size)
        lines.append(fields)
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    for row in (row for row in rows if "error" in row):
        print(f"{row['name']}  cannot be read: {row['error']}")


def _show(arguments: argparse.Namespace) -> int:
    store = open_store(arguments.store)
    bundle = store.open(arguments.ref)
    manifest = bundle.manifest
    body = {
        **json.loads(manifest.to_json()),
        "versions": store.versions(manifest.name),
        "aliases": store.aliases(manifest.name),
        "folder": bundle.place,
    }
    if arguments.json:
        print(json.dumps(body, indent=1))
        return 0
    print(f"{manifest.name}@{manifest.version}  {manifest.family}, {manifest.task}")
    print(manifest.description)
    for key in ("versions", "aliases", "folder"):
        print(f"{key:<12}{body[key]}")
    for does, verb in manifest.verbs.items():
        graph = manifest.graphs[verb.graph]
        print(f"{does:<12}{verb.input.kind} → {verb.answer.kind}  ({graph.file})")
    if manifest.explained:
        print(f"explain     what each part of an item does to what it would {manifest.explained}")
    for graph in manifest.graphs.values():
        where = f"  ({graph.file})" if len(manifest.graphs) > 1 else ""
        print(f"batches     {_batches(graph.batching)}{where}")
    _print_worth(manifest)
    for sentence in manifest.inferred:
        print(f"inferred    {sentence}")
    for file, entry in manifest.files.items():
        digest = f"sha256 {entry.sha256[:12]}…" if entry.sha256 else "no digest"
        print(f"file        {file}  {entry.size_bytes:,} bytes  {digest}")
    return 0


def _batches(batching: Batching) -> str:
    if not batching.rows:
        return f"no: {batching.reason}" if batching.reason else "no"
    return f"up to {batching.max_rows} rows in one run"


def _print_worth(manifest: Manifest) -> None:
    """How good it is, and where it comes from."""
    for metric, value in manifest.metrics.items():
        beside = [f"{k} {v[metric]:.4g}" for k, v in manifest.baselines.items() if metric in v]
        print(
            f"{metric:<28}{value:.4g}" + (f"  (baselines: {', '.join(beside)})" if beside else "")
        )
    print(f"scored on   {manifest.evaluation}")
    for name, parity in manifest.parity.items():
        print(f"parity      {name}: {parity.max_difference:.1e} at rows {list(parity.rows)}")
    origin = manifest.provenance
    if origin is None:
        print(f"made by     {manifest.source or 'unknown'}")
        if not manifest.inferred:
            print(f"license     {manifest.license}")
        return
    print(f"made by     {origin.order}")
    print(f"data        {origin.data} ({origin.data_license})")


def _example(arguments: argparse.Namespace) -> int:
    manifest = open_store(arguments.store).open(arguments.ref).manifest
    name = arguments.verb or manifest.main_verb[0]
    if name not in manifest.abilities:
        raise NotFound(f"{manifest.name} cannot {name}; it can {', '.join(manifest.abilities)}")
    # To explain takes what the verb takes that is explained.
    verb = manifest.verbs[manifest.explained if name == EXPLAIN else name]  # type: ignore[index]
    item = verb.sample()
    if not arguments.raw:
        print(json.dumps({"inputs": [item]}))
        return 0
    try:
        body, _ = verb.input.body(item)
    except ItemError as error:
        raise NotFound(str(error)) from None
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
    return 0


def _import(arguments: argparse.Namespace) -> int:
    said = Said(**{field.name: getattr(arguments, field.name) for field in fields(Said)})
    store = open_store(arguments.store)
    found = described(import_model(store, Path(arguments.path), arguments.name, said))
    if arguments.json:
        print(json.dumps(found))
        return 0
    room = f", context {found['context']:,} tokens" if found["context"] else ""
    print(f"published {found['name']}@{found['version']}: {found['task']}{room}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    store = open_store(arguments.store)
    if arguments.ref:
        name, number = store.resolve(arguments.ref)
        wanted = [(name, number)]
    else:
        wanted = [(name, number) for name in store.names() for number in store.versions(name)]
    results = []
    for name, number in wanted:
        try:
            bundle = store.bundle(name, number)
            bundle.verify(afresh=True)
            reason = UNPUBLISHED if bundle.manifest.inferred else ""
            results.append({"ref": f"{name}@{number}", "ok": True, "reason": reason})
        except StoreError as error:
            results.append({"ref": f"{name}@{number}", "ok": False, "reason": str(error)})
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        for result in results:
            print(f"{result['ref']}: {result['reason'] or 'ok'}")
    return 0 if all(result["ok"] for result in results) else 1


def _remove(arguments: argparse.Namespace) -> int:
    removed = open_store(arguments.store).remove(arguments.ref)
    name = arguments.ref.partition("@")[0]
    if arguments.json:
        print(json.dumps({"name": name, "removed": removed}))
    else:
        print(f"removed {', '.join(f'{name}@{number}' for number in removed)}")
    return 0


def _alias(arguments: argparse.Namespace) -> int:
    store, name, alias = open_store(arguments.store), arguments.name, arguments.alias
    if arguments.drop:
        store.drop_alias(name, alias)
    else:
        store.set_alias(name, alias, arguments.version)
    aliases = store.aliases(name)
    if arguments.json:
        print(json.dumps({"name": name, "aliases": aliases}))
    else:
        words = ", ".join(f"{key} → {value}" for key, value in aliases.items())
        print(f"{name}: {words or 'no aliases'}")
    return 0


def _cache(arguments: argparse.Namespace) -> int:
    copies = open_copies()
    if arguments.clear:
        copies.clear()
    files, size_bytes = copies.size()
    if arguments.json:
        print(json.dumps({"folder": str(copies.root), "files": files, "size_bytes": size_bytes}))
    else:
        print(f"{copies.root}: {files} files, {size_bytes / 1e6:.1f} MB")
    return 0
