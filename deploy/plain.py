"""``python -m deploy.plain`` writes the manifests for people without Helm, from the chart."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BASE = HERE / "kustomize" / "base" / "modelhub.yaml"
HELM = HERE.parent / ".tools" / "bin" / "helm"
OF_HELM = ("helm.sh/", "app.kubernetes.io/managed-by:", "# Source:")
HEAD = "# Written by `python -m deploy.plain` from deploy/helm/modelhub; change it there.\n"


def plain(rendered: str) -> str:
    """The chart's objects without what only Helm reads."""
    documents = [
        document.strip("\n")
        for document in rendered.split("\n---\n")
        if "helm.sh/hook" not in document
    ]
    lines = "\n---\n".join(documents).removeprefix("---\n").splitlines()
    kept = [line for line in lines if not line.strip().startswith(OF_HELM)]
    return HEAD + "\n".join(kept).replace("  annotations:\nspec:", "spec:") + "\n"


def main() -> int:
    """Rewrite the file in place."""
    chart = str(HERE / "helm" / "modelhub")
    command = [str(HELM), "template", "modelhub", chart, "--kube-version", "1.37.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    BASE.write_text(plain(done.stdout), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
