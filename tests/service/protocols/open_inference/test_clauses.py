"""The table of the protocol's clauses is whole, and the tests that it names are there."""

import ast
import re
from pathlib import Path

import pytest
from tritonclient.http import InferenceServerClient  # type: ignore[import-untyped]

from service.app import create_app
from service.protocols.open_inference.documents import EXTENSIONS
from service.settings import Settings

FOLDER = Path(__file__).parent
TABLE = FOLDER / "CLAUSES.md"
NAMED = re.compile(r"`((?:\.\./)*[\w/]+\.py)::(test_\w+)`")
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in TABLE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| clause", "|---"))
]


def names_of_tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_a_clause_has_its_tests_or_a_reason_why_it_is_not_offered(row: tuple[str, ...]) -> None:
    assert len(row) == 2, row
    clause, proof = row
    named = NAMED.findall(proof)
    if proof.startswith("not offered: "):
        assert len(proof.removeprefix("not offered: ")) > 15
    else:
        assert named, clause
        assert NAMED.sub("", proof).strip(", ") == ""  # nothing but tests
    for file, test in named:
        assert test in names_of_tests(FOLDER / file), f"{file}::{test} is not there"


def test_every_route_and_extension_is_in_the_table(tmp_path: Path) -> None:
    clauses = "\n".join(clause for clause, _ in ROWS)
    for extension in EXTENSIONS:
        heading = f"## `{extension}`"
        assert f"`{extension}`" in clauses or heading in TABLE.read_text(encoding="utf-8")
    routes = create_app(Settings(store=tmp_path)).openapi()["paths"]
    optional = clauses.replace("[/versions/{version}]", "").replace("[/{name}]", "/{name}")
    for path in routes:
        if path.startswith("/v2"):
            assert path in optional or path.replace("/stats", "/{name}/stats") in optional, path


def test_every_call_of_tritons_client_is_made_in_its_tests() -> None:
    text = (FOLDER / "test_tritonclient.py").read_text(encoding="utf-8")
    calls = {name for name in dir(InferenceServerClient) if not name.startswith("_")}
    asks_no_server = {"close", "plugin", "unregister_plugin"}
    assert len(calls) > 25
    for name in calls - asks_no_server:
        assert f".{name}(" in text, name


def test_what_is_not_offered_is_no_extension_of_the_servers() -> None:
    for clause, proof in ROWS:
        if proof.startswith("not offered"):
            for name in re.findall(r"`(\w+)`", clause):
                assert name not in EXTENSIONS
