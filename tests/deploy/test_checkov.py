"""The manifests by the rules of checkov. What it may pass over is here, with the reason."""

import subprocess
from pathlib import Path

import pytest

from tests.deploy.manifests import BUCKET, FULL, GPU, render
from tests.deploy.tools import DEPLOY, run

PASSED_OVER = {
    "CKV_K8S_21": "the namespace is the installer's to choose, none is written down",
    "CKV_K8S_35": "a key in a file would be the same secret in the same pod; settings come by name",
    "CKV_K8S_8": "`helm test`'s pod and a training pod end by themselves",
    "CKV_K8S_9": "the same for readiness",
    "CKV2_K8S_6": "`helm test`'s pod is no server: nobody calls it",
    "CKV_K8S_43": "a digest belongs to a built image; values have a place for it",
    "CKV_K8S_15": "a version's tag is not moved: it need not be pulled each time",
}
PLAIN = [DEPLOY / "kserve" / "serving-runtime.yaml", DEPLOY / "training" / "job.yaml"]


def checkov(*paths: Path) -> "subprocess.CompletedProcess[str]":
    files = [part for path in paths for part in ("--file", path)]
    flags = ("--framework", "kubernetes", "--skip-download", "--quiet", "--compact")
    return run("checkov", *files, *flags, "--skip-check", ",".join(PASSED_OVER), check=False)


@pytest.mark.slow
def test_checkov_finds_nothing(tmp_path: Path) -> None:
    for values in (FULL, GPU, BUCKET):
        (tmp_path / f"{values.stem}.yaml").write_text(render("--values", values))
    done = checkov(*sorted(tmp_path.iterdir()), *PLAIN)
    assert "FAILED" not in done.stdout, done.stdout
    assert "Failed checks: 0" in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_checkov_would_find_a_container_with_rights(tmp_path: Path) -> None:
    path = tmp_path / "rights.yaml"
    escalation = "allowPrivilegeEscalation: "
    path.write_text(render().replace(f"{escalation}false", f"{escalation}true"))
    done = checkov(path)
    assert "CKV_K8S_20" in done.stdout
    assert done.returncode == 1
