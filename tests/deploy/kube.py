"""A cluster of the tests' own, spoken to as its users do: kubectl, helm, the API, the services."""

import http.client
import json
import ssl
import tempfile
from collections import Counter
from pathlib import Path

import httpx
import yaml

from deploy.kubernetes.cluster import Cluster
from tests.deploy.container import engine
from tests.deploy.manifests import Object, objects
from tests.deploy.tools import CHART, run
from tests.service.callers import Caller
from tests.service.server import PATIENCE_S, patience

REPOSITORY = "localhost/modelhub"
TAGS = ("one", "two")
"""One image under two names: a roll to another image is seen in the pods."""
WORTH_S = 180
"""The longest that anything in a cluster is waited for."""
SMALL = ("--set", f"image.repository={REPOSITORY}", "--set", "image.pullPolicy=Never",
         "--set", "resources.requests.cpu=100m", "--set", "resources.requests.memory=200Mi",
         "--set", "resources.limits.cpu=1", "--set", "resources.limits.memory=500Mi")  # fmt: skip
"""For a node of two cores, whose images are there."""


def archive(image: str, folder: Path) -> Path:
    """The image under both names, as a file that containerd reads."""
    names = [f"{REPOSITORY}:{tag}" for tag in TAGS]
    path = folder / "image.tar"
    try:
        engine("tag", image, *names)
        engine("save", "--multi-image-archive", "--output", path, *names)
    finally:
        engine("untag", image, *names, check=False)
    return path


class Kube:
    """The cluster and the tools that work on it. Objects are as the API gives them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        where, self.token = config["clusters"][0]["cluster"], config["users"][0]["user"]["token"]
        self.url, self.authority = where["server"], where["certificate-authority"]
        self.api = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.token}"},
            verify=ssl.create_default_context(cafile=self.authority), timeout=PATIENCE_S,
        )  # fmt: skip

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, check: bool = True) -> str:
        done = run("kubectl", *arguments, stdin=stdin, check=check)
        return done.stdout + done.stderr

    def create(self, *made: Object) -> None:
        self.kubectl("create", "--filename=-", stdin=yaml.safe_dump_all(made))

    def get(self, kind: str, *arguments: str) -> list[Object]:
        found: list[Object] = json.loads(
            run("kubectl", "get", kind, "--output=json", *arguments).stdout
        )["items"]
        return found

    def install(self, release: str, *flags: str | Path, wait: bool = True) -> None:
        """The chart, or another revision of what is there. Waits until all pods are ready."""
        waiting = ("--wait", f"--timeout={WORTH_S}s") if wait else ()
        run("helm", "upgrade", "--install", release, CHART, *SMALL, *flags, *waiting)

    def uninstall(self, release: str) -> None:
        run("helm", "uninstall", release)

    def pods(self, release: str) -> list[Object]:
        """Those that nobody has asked to go."""
        found = self.get("pods", f"--selector=app.kubernetes.io/instance={release}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, release: str) -> list[str]:
        """Names of the pods that are sent requests."""
        return [pod["metadata"]["name"] for pod in self.pods(release) if is_ready(pod)]

    def await_pods(self, release: str, number: int) -> None:
        """Until so many are there, all of them ready, and none is on its way out."""
        for _ in patience(WORTH_S, pause_s=0.5):
            every = self.get("pods", f"--selector=app.kubernetes.io/instance={release}")
            if len(every) == number and all(is_ready(pod) for pod in every):
                return
        raise AssertionError(self.kubectl("describe", "pods", check=False))

    def service(self, release: str) -> tuple[str, int]:
        """Its address, behind which kube-proxy finds the pods."""
        (found,) = self.get("services", f"--selector=app.kubernetes.io/instance={release}")
        return found["spec"]["clusterIP"], found["spec"]["ports"][0]["port"]

    def client(self, release: str) -> httpx.Client:
        address, port = self.service(release)
        return httpx.Client(base_url=f"http://{address}:{port}", timeout=PATIENCE_S)

    def claim(self, name: str, store: Path) -> None:
        """A volume on this machine's disk for the claim of that name, and for no other."""
        self.create({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(store), "type": "Directory"},
                "claimRef": {"namespace": "default", "name": name},
            },
        })  # fmt: skip


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def readable(store: Path) -> Path:
    """The same for the user of the image, who is nobody here."""
    for path in (store, *store.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return store


def definition(path: Path) -> list[Object]:
    """A custom resource's, without defaults that are empty texts: 1.20 takes them for null."""
    lines = path.read_text().splitlines()
    return objects("\n".join(line for line in lines if line.strip() != 'default: ""'))


class Persistent(Caller):
    """Asks again where a connection breaks or none comes about, and counts that."""

    def __init__(self, address: tuple[str, int], seed: int, *, keep_alive: bool) -> None:
        super().__init__(address, seed, keep_alive=keep_alive)
        self.broken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Nothing was sent."""

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        for _ in patience():
            try:
                if connection.sock is None:
                    connection.connect()
            except OSError as error:
                self.refused[type(error).__name__ + str(error.errno)] += 1
                connection.close()
                continue
            try:
                return super()._ask(connection)
            except OSError as error:
                self.broken[type(error).__name__] += 1
                connection.close()
        return "lost: asked again for a minute"


def trace_of(pid: int) -> dict[str, list[str]]:
    """What a cluster of this process could leave on this machine."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    groups = Path("/sys/fs/cgroup").glob(f"*/modelhub-{pid}")
    programs = {"etcd", "kubelet", "containerd", "kube-apiserver", "containerd-shim"}
    names = {path: _name(path) for path in Path("/proc").glob("[0-9]*")}
    return {
        "mounts": [line for line in mounts if "modelhub" in line or tempfile.gettempdir() in line],
        "groups": [str(group) for group in groups],
        "processes": [str(path) for path, name in names.items() if name in programs],
        "networks": [str(path) for path in Path("/run/netns").glob("*")],
    }


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""
