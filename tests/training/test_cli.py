import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store.cli import main
from model_store.store import Store
from tests.training.toys import Toy, ToyConfig
from training import cli
from training.recipe import Recipe

Result = tuple[int, str, str]


@pytest.fixture
def modelhub(
    offer: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs the command in this process; it knows the recipe ``toy_faults``."""
    offer(toy_faults=Toy)

    def modelhub(*words: str) -> Result:
        """Exit code, output, errors."""
        try:
            code = main(words)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return modelhub


# --- training ----------------------------------------------------------------------------------


def test_train_publishes_a_version_with_the_flags_that_were_given(
    modelhub: Callable[..., Result], tmp_path: Path
) -> None:
    flags = ["--epochs", "1", "--hidden", "4", "--no-bias", "--splits", "64", "20", "20"]
    flags += ["--activation", "tanh", "--seed", "9", "--name", "mine", "--device", "cpu"]
    code, out, err = modelhub("train", "toy_faults", "--store", str(tmp_path / "models"), *flags)
    assert (code, err) == (0, "")
    assert "published mine@1: accuracy " in out
    bundle = Store(tmp_path / "models").open("mine")
    bundle.verify()
    origin = bundle.manifest.provenance
    assert origin
    assert (origin.recipe, origin.profile) == ("toy_faults", "quick")
    assert ToyConfig.model_validate(origin.config) == ToyConfig(
        epochs=1, hidden=4, bias=False, splits=(64, 20, 20), activation="tanh", seed=9,
        learning_rate=0.05, batch_size=32,
    )  # fmt: skip


def test_train_takes_the_users_own_data(modelhub: Callable[..., Result], tmp_path: Path) -> None:
    rows = [f"{place % 7 - 3},{place % 5 - 2},x" for place in range(240)]
    (tmp_path / "mine.csv").write_text("\n".join(["a,b,bad", *rows]))
    words = ["--store", str(tmp_path / "models"), "--data", str(tmp_path / "mine.csv")]
    words += ["--description", "Finds bad parts."]
    assert modelhub("train", "toy_faults", "--epochs", "1", *words)[0] == 0
    manifest = Store(tmp_path / "models").open("toy_faults").manifest
    assert manifest.description == "Finds bad parts."
    origin = manifest.provenance
    assert origin
    assert (origin.data, origin.data_license) == (str(tmp_path / "mine.csv"), "not stated")


def test_training_from_a_version_has_its_settings_but_for_the_flags(
    modelhub: Callable[..., Result], tmp_path: Path
) -> None:
    words = ["train", "toy_faults", "--store", str(tmp_path / "models"), "--force"]
    first = ["--profile", "full", "--hidden", "5", "--no-bias", "--seed", "7", "--epochs", "2"]
    assert modelhub(*words, *first)[0] == 0
    assert modelhub(*words, "--from", "toy_faults@1", "--epochs", "1")[0] == 0
    origin = Store(tmp_path / "models").open("toy_faults@2").manifest.provenance
    assert origin
    config = ToyConfig.model_validate(origin.config)
    assert (config.hidden, config.bias, config.seed, config.epochs) == (5, False, 7, 1)
    assert (origin.profile, origin.start) == ("full", "toy_faults@1")

    code, out, err = modelhub(*words, "--from", "toy_faults@9")
    assert (code, out) == (2, "")
    assert err == "modelhub: toy_faults has no version 9; it has [1, 2]\n"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--epochs", "0"],
            "modelhub: --epochs: Input should be greater than or equal to 1; got 0",
        ),
        (["--learning-rate", "-1"], "modelhub: --learning-rate: .*; got -1.0"),
        (["--batch-size", "0"], "modelhub: --batch-size: .*; got 0"),
        (["--dropout", "1"], "modelhub: --dropout: .*; got 1.0"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--activation", "cubic"], "argument --activation: invalid choice: 'cubic'"),
        (["--splits", "1", "two"], "argument --splits: invalid int value: 'two'"),
        (["--profile", "slow"], "argument --profile: invalid choice: 'slow'"),
        (["--device", "abacus"], "argument --device: invalid choice: 'abacus'"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--data", "/no/such.csv"], "modelhub: --data /no/such.csv: expected a CSV with columns"),
        (["--name", "../toy"], "modelhub: name '../toy': expected"),
    ],
)
def test_a_flag_that_cannot_be_is_2_and_named(
    modelhub: Callable[..., Result], tmp_path: Path, flags: list[str], words: str
) -> None:
    code, _, err = modelhub("train", "toy_faults", "--store", str(tmp_path / "models"), *flags)
    assert code == 2
    assert re.search(words, err)
    assert not (tmp_path / "models").exists()


def test_data_that_the_recipe_cannot_read_is_2_in_one_line(
    modelhub: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("x,y\n1,2\n")
    words = ["--store", str(tmp_path / "models"), "--data", str(tmp_path / "mine.csv")]
    code, out, err = modelhub("train", "toy_faults", *words)
    assert (code, out) == (2, "")
    assert err == f"modelhub: {tmp_path}/mine.csv: expected columns a and b; no 'a'\n"
    assert Store(tmp_path / "models").names() == []


@pytest.mark.parametrize("words", [["no_such"], [], ["../toys"]])
def test_an_unknown_recipe_is_2_with_the_recipes_there_are(
    modelhub: Callable[..., Result], words: list[str]
) -> None:
    code, out, err = modelhub("train", *words)
    assert (code, out) == (2, "")
    assert "cnn_digits" in err
    assert "toy_faults" in err
    assert err.count("\n") == 1


def test_a_run_that_is_interrupted_is_130_and_says_how_to_go_on(
    modelhub: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Toy, "load", interrupted)
    code, _, err = modelhub("train", "toy_faults", "--store", str(tmp_path))
    assert code == 130
    assert "--resume" in err


# --- help --------------------------------------------------------------------------------------


def test_the_help_of_a_recipe_has_a_flag_for_each_setting_with_both_defaults(
    modelhub: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = modelhub("train", "toy_faults", "--help")
    assert (code, err) == (0, "")
    assert "Tells a good part from a bad one. --data takes: a CSV with columns a, b and bad" in out
    words = re.sub(r"\s+", " ", out)
    for name, field in ToyConfig.model_fields.items():
        values = ", ".join(f"{p}: {getattr(c, name)}" for p, c in Toy.profiles.items())
        flag = f"--{name.replace('_', '-')} "
        assert re.search(rf"{flag}.*{re.escape(f'{field.description} ({values})')}", words)
    assert "--activation {relu,tanh}" in out
    assert "--bias, --no-bias" in out


def test_the_help_of_train_says_where_the_recipes_are(modelhub: Callable[..., Result]) -> None:
    code, out, _ = modelhub("train", "--help")
    assert code == 0
    assert "`modelhub recipes`" in out


def test_recipes_lists_every_one_with_what_it_takes(modelhub: Callable[..., Result]) -> None:
    code, out, err = modelhub("recipes")
    assert (code, err) == (0, "")
    assert re.search(r"^toy_faults +other +tabular +fault-diagnosis", out, re.MULTILINE)
    assert "--data: a CSV with columns a, b and bad" in out
    assert re.search(r"^cnn_digits +cnn +vision ", out, re.MULTILINE)


def test_recipes_as_json_has_the_profiles(modelhub: Callable[..., Result]) -> None:
    code, out, _ = modelhub("recipes", "--json")
    assert code == 0
    facts = {recipe["name"]: recipe for recipe in json.loads(out)}
    assert facts["toy_faults"]["family"] == "other"
    quick = ToyConfig.model_validate(facts["toy_faults"]["profiles"]["quick"])
    assert quick == Toy.profiles["quick"]
    assert set(facts) > {"cnn_digits", "toy_faults"}


def test_recipes_shows_one(modelhub: Callable[..., Result]) -> None:
    assert modelhub("recipes", "--show", "toy_faults")[1].startswith("usage: modelhub train toy_f")
    code, out, _ = modelhub("recipes", "--show", "toy_faults", "--json")
    assert (code, json.loads(out)["name"]) == (0, "toy_faults")
    code, _, err = modelhub("recipes", "--show", "no_such")
    assert code == 2
    assert "no recipe 'no_such'; there are " in err


# --- every recipe's flags ----------------------------------------------------------------------


def test_a_flag_sets_each_kind_of_field() -> None:
    parser = cli._flags("toy_faults", Toy)
    words = "--label bad --no-bias --splits 1 2 3 --activation tanh --dropout 0.1 --hidden 3"
    given = vars(parser.parse_args(words.split()))
    assert {k.removeprefix("config."): v for k, v in given.items() if k in _of(given)} == {
        "label": "bad",
        "bias": False,
        "splits": [1, 2, 3],
        "activation": "tanh",
        "dropout": 0.1,
        "hidden": 3,
    }


def _of(given: dict[str, Any]) -> list[str]:
    return [key for key, value in given.items() if key.startswith("config.") and value is not None]


def test_what_is_not_given_is_the_profiles() -> None:
    kind: type[Recipe[Any]] = Toy
    for profile in ("quick", "full"):
        flags = cli._flags("toy_faults", kind).parse_args(["--profile", profile])
        assert cli._config(kind, flags, {}) == Toy.profiles[profile]


def test_a_flag_wins_over_the_full_profile() -> None:
    flags = cli._flags("toy_faults", Toy).parse_args(["--profile", "full", "--epochs", "3"])
    full = Toy.profiles["full"]
    assert isinstance(flags, argparse.Namespace)
    assert cli._config(Toy, flags, {}) == full.model_copy(update={"epochs": 3})


# --- the real script ---------------------------------------------------------------------------


def test_the_starter_set_is_left_alone_when_it_is_there(tmp_path: Path) -> None:
    """And nothing heavy is imported to find that out."""
    script = """
import sys
from pathlib import Path
from training import starter
for name in starter.STARTER:
    (Path(sys.argv[1]) / name / "1").mkdir(parents=True)
from model_store.cli import main
code = main(["starter", "--store", sys.argv[1]])
print(code, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 False\n"


def test_the_console_script_trains(tmp_path: Path, offer: Callable[..., None]) -> None:
    offer(toy_faults=Toy)
    done = subprocess.run(
        [Path(sys.executable).parent / "modelhub", "train", "toy_faults", "--epochs", "1",
         "--store", tmp_path / "models"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "published toy_faults@1: accuracy " in done.stdout
    assert Store(tmp_path / "models").versions("toy_faults") == [1]
