"""A cluster of one node for the length of a ``with`` block: real Kubernetes 1.20.2.

``build.sh`` makes its programs, ``node.sh`` runs them. This starts the node in network, mount and
process namespaces of its own and takes the calling thread into its network, so that whatever is
asked and whatever listens there stays there. All that the node could leave on this machine are its
control groups, which go with it.
"""

# ruff: noqa: S603, S607 - fixed commands
# ruff: noqa: T201 - it speaks by printing

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
PATH = f"{HERE.parents[1] / '.tools' / 'bin'}:{os.environ['PATH']}"
"""With kubectl and helm, as `make deploy-tools` gets them."""
CGROUPS = Path("/sys/fs/cgroup")
START_S = 180
"""A start takes 30 s on two cores; only one that fails takes longer."""
STOP_S = 120
CLONE_NEWNET = 0x40000000


class ClusterError(Exception):
    """The cluster does not come up, or something of it is left."""


class Cluster:
    """A node that is ready. The thread that has it is in its network."""

    def __init__(self, folder: Path, cgroup: str) -> None:
        self.cgroup = cgroup
        self.kubeconfig = folder / "kubeconfig"
        self.address = "10.79.0.1"
        """The node's own, reached by the pods and by the API server."""

    def processes(self, container_id: str) -> list[int]:
        """What runs in one container, by the numbers that this machine gives them."""
        groups = (CGROUPS / "memory" / self.cgroup).rglob(f"{container_id}/cgroup.procs")
        return [int(pid) for group in groups for pid in group.read_text().split()]


def lacking() -> str:
    """Why there can be no cluster on this machine; mostly empty."""
    if os.geteuid():
        return "only root may make a node"
    if not (CGROUPS / "memory").is_dir():
        return "Kubernetes 1.20 wants control groups of version 1"
    wanted = ("unshare", "ip", "iptables", "runc", "openssl", "kubectl", "helm")
    missing = [name for name in wanted if not shutil.which(name, path=PATH)]
    if missing:
        return f"there is no {' and no '.join(missing)} (make deploy-tools installs what it can)"
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], check=False)
    return "" if probe.returncode == 0 else "no namespaces may be made here"


@contextlib.contextmanager
def cluster(kubernetes: Path, folder: Path, *images: Path) -> Iterator[Cluster]:
    """``kubernetes`` is what build.sh made, ``images`` are archives that the node shall hold.

    ``folder`` keeps the logs. Raises ClusterError with the end of them.
    """
    group = f"modelhub-{os.getpid()}-{secrets.token_hex(2)}"
    folder.mkdir()
    try:
        _make_groups(group)
        process = _start(kubernetes, folder, group, images)
        try:
            _await_ready(process, folder)
            with _inside(_child(process.pid)):
                yield Cluster(folder, group)
        finally:
            _stop(process)
    finally:
        _remove_groups(group)


def _start(
    kubernetes: Path, folder: Path, group: str, images: tuple[Path, ...]
) -> "subprocess.Popen[str]":
    """In a session of its own: Ctrl-C is for the tests, which then stop it in order."""
    command = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child",
               "bash", str(HERE / "node.sh"), str(kubernetes), str(folder), group,
               *map(str, images)]  # fmt: skip
    with (folder / "said").open("w") as said, (folder / "node.log").open("w") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=log, text=True,
            env={**os.environ, "PATH": PATH}, start_new_session=True,
        )  # fmt: skip


def _await_ready(process: "subprocess.Popen[str]", folder: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        if (folder / "said").read_text() == "ready\n":
            return
        time.sleep(0.1)
    said = (folder / "node.log").read_text()
    logs = [f"{path.name}:\n{path.read_text()[-1500:]}" for path in (folder / "log").glob("*.log")]
    raise ClusterError("\n\n".join([f"the node does not come up: {said}", *logs]))


def _stop(process: "subprocess.Popen[str]") -> None:
    """In order, or by force: with the first process of a namespace go all the others."""
    try:
        process.communicate(timeout=STOP_S)  # its input ends: that is how it is told
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _child(pid: int) -> int:
    """The one process that ``unshare`` started."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@contextlib.contextmanager
def _inside(pid: int) -> Iterator[None]:
    """This thread, and what it starts, in another process's network."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(network: int) -> None:
        if libc.setns(network, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "the network cannot be entered")

    with (
        Path("/proc/thread-self/ns/net").open("rb") as own,
        Path(f"/proc/{pid}/ns/net").open("rb") as other,
    ):
        enter(other.fileno())
        try:
            yield
        finally:
            enter(own.fileno())


# --- control groups -------------------------------------------------------------------------------


def _hierarchies() -> list[Path]:
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_groups(name: str) -> None:
    """One in each hierarchy. Those of processors hold none before they are told which."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir()
        if hierarchy.name == "cpuset":
            for what in ("cpuset.cpus", "cpuset.mems"):
                (group / what).write_text((hierarchy / what).read_text())


def _remove_groups(name: str) -> None:
    """Raises ClusterError where a process is left in one: nothing of the node may be."""
    for hierarchy in _hierarchies():
        found = sorted((hierarchy / name).rglob("*/"), reverse=True)
        for group in [*(path for path in found if path.is_dir()), hierarchy / name]:
            for _ in range(50):  # the kernel may take a moment to let go of the dead
                try:
                    group.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise ClusterError(f"{group} still holds {(group / 'cgroup.procs').read_text()!r}")


if __name__ == "__main__":
    if reason := lacking():
        sys.exit(f"{reason}: Kubernetes is NOT tried here")
    print("a cluster can be made here")
