import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import model_store
from model_store.answers.image import ImageAnswer
from model_store.cli import main
from model_store.inputs.none import NoneInput
from model_store.inputs.table import Column, TableInput
from model_store.manifest import Draft, Manifest, Verb
from model_store.store import Store
from tests.model_store.commands import Modelhub

Publish = Callable[..., Manifest]
SCRIPT = Path(sys.executable).parent / "modelhub"


@pytest.fixture
def damage(publish: Publish, store: Store) -> str:
    """A model whose manifest was changed."""
    publish("broken")
    path = store.root / "broken" / "1" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"zeta": 0.75', b'"zeta": 0.95'))
    return "broken"


# --- list --------------------------------------------------------------------------------------


def test_list_shows_each_model_with_its_headline_score(
    modelhub: Modelhub, publish: Publish
) -> None:
    publish("toy")
    publish("toy")
    publish("another")
    code, out, err = modelhub("list")
    assert (code, err) == (0, "")
    head, *rows = [re.split(r"  +", line) for line in out.splitlines()]
    assert head == ["NAME", "VERSION", "FAMILY", "TASK", "VERBS", "SCORE", "SIZE"]
    same = ["other", "fault-diagnosis", "predict", "zeta 0.75", "0.0 MB"]
    assert rows == [["another", "1", *same], ["toy", "2", *same]]


def test_list_as_json_has_the_facts(modelhub: Modelhub, publish: Publish, store: Store) -> None:
    publish()
    publish()
    store.set_alias("toy", "stable", 1)
    [row] = modelhub.json("list")
    assert row["name"] == "toy"
    assert row["version"] == 1  # what the bare name means
    assert row["versions"] == [1, 2]
    assert row["aliases"] == {"stable": 1}
    assert row["verbs"] == ["predict"]
    assert row["metrics"] == {"zeta": 0.75, "accuracy": 0.9, "mean_error": 0.125}
    assert row["size_bytes"] == store.open("toy").manifest.size_bytes


def test_list_of_an_empty_store_says_how_to_fill_it(modelhub: Modelhub) -> None:
    code, out, _ = modelhub("list")
    assert code == 0
    assert out == f"no models in {modelhub.store.root} (modelhub train RECIPE makes one)\n"
    assert modelhub.json("list") == []


def test_list_shows_a_damaged_manifest_and_hides_no_other(
    modelhub: Modelhub, publish: Publish, damage: str
) -> None:
    publish("after")
    publish("zebra")
    code, out, err = modelhub("list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "after", "zebra", damage]
    assert "cannot be read: manifest.json was changed" in lines[-1]
    assert max(map(len, lines[:-1])) < 100  # the long message does not widen the table
    rows = {row["name"]: row for row in modelhub.json("list")}
    assert "manifest.json was changed" in rows[damage]["error"]
    assert rows["zebra"]["version"] == 1


def test_list_shows_damaged_aliases(modelhub: Modelhub, publish: Publish, store: Store) -> None:
    publish()
    (store.root / "toy" / "aliases.json").write_text("[]")
    code, out, _ = modelhub("list")
    assert code == 0
    assert "toy  cannot be read: toy/aliases.json is damaged" in out


# --- show --------------------------------------------------------------------------------------


def test_show_tells_all_about_one_version(
    modelhub: Modelhub, publish: Publish, store: Store
) -> None:
    publish()
    store.set_alias("toy", "stable", 1)
    code, out, err = modelhub("show", "toy@stable")
    assert (code, err) == (0, "")
    for words in (
        "toy@1  other, fault-diagnosis",
        "Tells a good part from a bad one.",
        "versions    [1]",
        "aliases     {'stable': 1}",
        f"folder      {store.root}/toy/1",
        "predict     table → classes  (model.onnx)",
        "batches     up to 64 rows in one run\n",
        "scored on   100 rows held out",
        "parity      model: 1.0e-07 at rows [1, 3, 64]",
        "made by     toy_faults --profile quick --seed 7",
        "data        made up (CC0-1.0)",
        "file        pictures/curve.png  4 bytes  sha256 ",
    ):
        assert words in out
    scores = [line for line in out.splitlines() if line.startswith(("zeta", "accuracy", "mean"))]
    assert [re.split(r"  +", line) for line in scores] == [
        ["zeta", "0.75", "(baselines: majority_class 0.25)"],
        ["accuracy", "0.9", "(baselines: majority_class 0.5)"],
        ["mean_error", "0.125"],
    ]


def test_show_as_json_is_the_manifest_and_where_it_lies(
    modelhub: Modelhub, publish: Publish, store: Store
) -> None:
    publish()
    body = modelhub.json("show", "toy")
    manifest = json.loads(store.open("toy").manifest.to_json())
    folder = str(store.root / "toy" / "1")
    assert body == {**manifest, "versions": [1], "aliases": {}, "folder": folder}
    assert list(body["metrics"]) == ["zeta", "accuracy", "mean_error"]


# --- example -----------------------------------------------------------------------------------


def test_example_prints_a_request_that_works(modelhub: Modelhub, publish: Publish) -> None:
    publish()
    code, out, _ = modelhub("example", "toy", "--verb", "predict")
    assert code == 0
    assert json.loads(out) == {"inputs": [[1.5, -2.0]]}


def test_example_of_explain_is_that_of_the_verb_it_explains(
    modelhub: Modelhub, store: Store, draft: Draft
) -> None:
    columns = (Column(name="a", usual=1), Column(name="b", usual=0))
    verb = draft.verbs["predict"].model_copy(update={"input": TableInput(columns=columns)})
    with store.stage("toy") as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        store.publish("toy", folder, draft.model_copy(update={"verbs": {"predict": verb}}))
    code, out, _ = modelhub("example", "toy", "--verb", "explain")
    assert (code, json.loads(out)) == (0, {"inputs": [[1.5, -2.0]]})
    assert "explain     what each part of an item does" in modelhub("show", "toy")[1]


def test_example_prints_the_raw_body(publish: Publish, store: Store) -> None:
    publish()
    done = _script("example", "toy", "--raw", "--store", str(store.root))
    assert (done.returncode, done.stdout) == (0, "a,b\n1.5,-2.0\n")


def test_example_of_a_verb_or_raw_form_that_is_not_there_is_2(
    modelhub: Modelhub, store: Store, draft: Draft
) -> None:
    verb = Verb(input=NoneInput(noise_size=2), answer=ImageAnswer(), example={"seed": 1})
    with store.stage("toy") as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        store.publish("toy", folder, draft.model_copy(update={"verbs": {"generate": verb}}))
    assert modelhub("example", "toy", "--verb", "predict") == (
        2, "", "modelhub: toy cannot predict; it can generate\n",
    )  # fmt: skip
    code, out, err = modelhub("example", "toy", "--raw")
    assert (code, out) == (2, "")
    assert err.startswith("modelhub: ")


# --- verify ------------------------------------------------------------------------------------


def test_verify_proves_every_version(modelhub: Modelhub, publish: Publish) -> None:
    publish("toy")
    publish("toy")
    publish("another")
    assert modelhub("verify") == (0, "another@1: ok\ntoy@1: ok\ntoy@2: ok\n", "")
    assert modelhub("verify", "toy@1") == (0, "toy@1: ok\n", "")
    assert modelhub.json("verify", "toy") == [{"ref": "toy@2", "ok": True, "reason": ""}]


def test_verify_ends_with_1_and_names_what_was_changed(
    modelhub: Modelhub, publish: Publish, store: Store, damage: str
) -> None:
    publish("toy")
    publish("toy")
    (store.root / "toy" / "1" / "card.md").write_text("# Changed\n")
    code, out, err = modelhub("verify")
    assert (code, err) == (1, "")
    first, second, third = out.splitlines()
    assert first.startswith(f"{damage}@1: manifest.json was changed")
    assert second.startswith("toy@1: card.md was changed: expected sha256 ")
    assert third == "toy@2: ok"
    assert modelhub("verify", "toy@2")[0] == 0
    code, out, _ = modelhub("verify", "toy@1", "--json")
    assert code == 1
    [result] = json.loads(out)
    assert (result["ref"], result["ok"]) == ("toy@1", False)
    assert "card.md" in result["reason"]


# --- rm and alias ------------------------------------------------------------------------------


def test_rm_removes_a_version_or_all(modelhub: Modelhub, publish: Publish, store: Store) -> None:
    for _ in range(3):
        publish()
    assert modelhub("rm", "toy@2") == (0, "removed toy@2\n", "")
    assert store.versions("toy") == [1, 3]
    assert modelhub("rm", "toy") == (0, "removed toy@1, toy@3\n", "")
    assert store.names() == []
    publish()
    assert modelhub.json("rm", "toy@4") == {"name": "toy", "removed": [4]}


def test_rm_of_a_version_in_use_is_2_and_removes_nothing(
    modelhub: Modelhub, publish: Publish, store: Store
) -> None:
    publish()
    store.set_alias("toy", "stable", 1)
    assert modelhub("rm", "toy@1") == (
        2, "", "modelhub: toy@1 is stable; move or drop the alias first\n",
    )  # fmt: skip
    assert store.versions("toy") == [1]


def test_alias_sets_moves_and_drops(modelhub: Modelhub, publish: Publish) -> None:
    publish()
    publish()
    assert modelhub("alias", "toy", "stable", "1") == (0, "toy: stable → 1\n", "")
    assert modelhub("alias", "toy", "blue", "2") == (0, "toy: blue → 2, stable → 1\n", "")
    assert modelhub.json("alias", "toy", "stable", "2") == {
        "name": "toy",
        "aliases": {"blue": 2, "stable": 2},
    }
    assert modelhub("alias", "toy", "stable", "--drop") == (0, "toy: blue → 2\n", "")
    assert modelhub("alias", "toy", "blue", "--drop") == (0, "toy: no aliases\n", "")


@pytest.mark.parametrize(
    "words",
    [
        ["alias", "toy", "stable"],
        ["alias", "toy", "stable", "1", "--drop"],
        ["alias", "toy", "stable", "one"],
        ["alias", "toy"],
        ["show"],
        ["rm"],
        ["list", "--colour"],
    ],
)
def test_a_command_asked_wrongly_is_2_with_its_usage(modelhub: Modelhub, words: list[str]) -> None:
    code, out, err = modelhub(*words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: modelhub ")
    assert "error: " in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "other"], "no model 'other' in the store"),
        (["show", "toy@2"], "toy has no version 2; it has [1]"),
        (["show", "../toy"], "name '../toy': expected [a-z0-9]"),
        (["verify", "other"], "no model 'other' in the store"),
        (["example", "other"], "no model 'other' in the store"),
        (["rm", "other"], "no model 'other' in the store"),
        (["rm", "toy@canary"], "toy has no alias 'canary'; it has []"),
        (["alias", "other", "stable", "1"], "no model 'other' in the store"),
        (["alias", "toy", "stable", "2"], "toy has no version 2; it has [1]"),
        (["alias", "toy", "7", "1"], "a whole number is a version, not an alias"),
        (["alias", "toy", "stable", "--drop"], "toy has no alias 'stable'; it has []"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_not_there_is_2_and_one_line(
    modelhub: Modelhub, publish: Publish, words: list[str], message: str, more: list[str]
) -> None:
    publish()
    code, out, err = modelhub(*words, *more)
    assert (code, out) == (2, "")
    assert err.startswith("modelhub: ")
    assert message in err
    assert err.count("\n") == 1


def test_no_command_is_2_with_the_list_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out = capsys.readouterr().out
    for command in ("list", "show", "example", "verify", "rm", "alias"):
        assert re.search(rf"^    {command} ", out, re.MULTILINE)


# --- the real script ---------------------------------------------------------------------------


def _script(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *words], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_the_console_script_reads_the_store_from_the_environment(
    publish: Publish, store: Store
) -> None:
    publish()
    done = _script("list", "--json", MODELHUB_STORE=str(store.root))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["name"] == "toy"


def test_the_console_scripts_exit_codes_are_the_commands(publish: Publish, store: Store) -> None:
    publish()
    (store.root / "toy" / "1" / "card.md").write_text("# Changed\n")
    assert _script("verify", "--store", str(store.root)).returncode == 1
    assert _script("show", "other", "--store", str(store.root)).returncode == 2


@pytest.mark.parametrize("models", [1, 60])
def test_list_into_a_pipe_that_closes_early_ends_quietly(
    publish: Publish, store: Store, models: int
) -> None:
    for number in range(models):
        publish(f"a-model-with-a-rather-long-name-{number:03}")
    words = [str(SCRIPT), "list", "--json", "--store", str(store.root)]
    # Buffered, as outside of containers: then nothing is written before the end.
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


PROBE = """
import sys
absent = sys.argv[1].split(",")
for name in absent:
    sys.modules[name] = None  # as if it were not installed
from model_store.cli import main
code = main(sys.argv[2:])
sys.stdout.flush()
print(*sorted(name for name in sys.modules if sys.modules[name] is not None), file=sys.stderr)
sys.exit(code)
"""


def _probe(absent: str, *words: str) -> tuple[int, str, set[str]]:
    """Exit code, output and the modules that were imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, absent, *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, set(done.stderr.split())


def test_list_imports_nothing_heavy(publish: Publish, store: Store) -> None:
    publish()
    code, out, imported = _probe("", "list", "--store", str(store.root))
    assert code == 0
    assert "toy" in out
    assert "training.cli" in imported  # it is mounted …
    assert imported & {"torch", "accelerate", "onnx", "onnxruntime", "rich", "matplotlib"} == set()
    assert imported & {"fastapi", "starlette", "uvicorn", "PIL", "tokenizers"} == set()  # … unused


def test_the_store_works_without_any_of_the_extras(publish: Publish, store: Store) -> None:
    publish()
    extras = "torch,accelerate,onnx,onnxruntime,rich,matplotlib,PIL,tokenizers,fastapi,uvicorn"
    where = ("--store", str(store.root))
    for words in (["list"], ["show", "toy"], ["verify"], ["example", "toy"]):
        assert _probe(extras, *words, *where)[0] == 0
    code, out, _ = _probe(extras)
    assert code == 2
    assert "Not installed: " in out
    assert "training needs torch" in re.sub(r"\s+", " ", out)
    assert "pip install 'modelhub[serve,train]'" in re.sub(r"\s+", " ", out)


def test_every_module_of_the_store_imports_without_the_extras() -> None:
    script = """
import importlib, pkgutil, sys
for name in ("torch", "onnx", "onnxruntime", "PIL", "tokenizers", "fastapi", "starlette"):
    sys.modules[name] = None
import model_store
for module in pkgutil.walk_packages(model_store.__path__, "model_store."):
    importlib.import_module(module.name)
    print(module.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    files = {path.stem for path in Path(model_store.__file__).parent.rglob("*.py")} - {"__init__"}
    assert {name.rpartition(".")[2] for name in done.stdout.split()} >= files
