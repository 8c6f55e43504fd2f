"""The tools of ``make deploy-tools``: found, run, or said to be missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "modelhub"
CRDS = Path(os.environ.get("MODELHUB_CRDS", ROOT.parent / "shared" / "crds"))
"""Custom resource definitions of KServe and the Prometheus operator; not in this repository."""


def tool(name: str) -> str:
    """Its path; skips the test, and says how to get it, where it is missing."""
    ours = ROOT / ".tools" / "bin" / name
    path = str(ours) if ours.exists() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on this machine: NOT CHECKED (make deploy-tools installs it)")
    return path


def run(
    name: str, *arguments: str | Path, stdin: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A tool run to its end. What it says is the failure's message."""
    done = subprocess.run(
        [tool(name), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "HELM_CACHE_HOME": "/nonexistent", "HELM_CONFIG_HOME": "/nonexistent",
             "HELM_DATA_HOME": "/nonexistent"},
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
