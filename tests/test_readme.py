"""The README's commands do what the README says, run in its order against a real server."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from service.settings import Settings
from tests.service.server import Server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"


class Step(NamedTuple):
    """One ``$ command`` of a console block and what the README shows after it."""

    command: str
    shown: str


def steps() -> list[Step]:
    """Every command of every ``console`` block, in order; a trailing backslash joins lines."""
    found: list[Step] = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append(Step(command.strip(), shown.strip()))
    return found


def pattern(shown: str) -> re.Pattern[str]:
    """What is shown, with any number for a number, anything for ``…`` and any run of spaces."""
    words = re.split(rf"({NUMBER}|…|\s+)", shown)
    parts = []
    for word in words:
        if word == "…":
            parts.append(r".*?")
        elif word.isspace():
            parts.append(r"\s+")
        elif re.fullmatch(NUMBER, word):
            parts.append(NUMBER)
        else:
            parts.append(re.escape(word))
    return re.compile("".join(parts) + r"\s*", re.DOTALL)


def test_readme_shows_commands_and_each_shows_its_output() -> None:
    assert len(steps()) >= 12
    assert [step.command for step in steps() if not step.shown] == []


def test_make_targets_the_readme_names_exist() -> None:
    named = {
        first or second
        for first, second in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", README, re.MULTILINE)
    }
    assert {"up", "test", "install"} <= named
    for target in named:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour is told with curl")
def test_every_readme_command_shows_what_the_readme_says(starter: Server, tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "MODELHUB_STORE": str(starter.store),
        "COLUMNS": "200",
    }
    address = starter.url.removeprefix("http://")
    for command, shown in steps():
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.replace("localhost:8000", address)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = (done.stdout + done.stderr).replace(address, "localhost:8000")
        assert pattern(shown).fullmatch(said.strip()), f"$ {command}\n{said}\nREADME:\n{shown}"


def test_readme_lists_every_setting_with_its_default() -> None:
    for name, field in Settings.model_fields.items():
        default = field.default or "none" if isinstance(field.default, frozenset) else field.default
        assert f"| `MODELHUB_{name.upper()}` | {default} | {field.description} |" in README
