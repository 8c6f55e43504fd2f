"""Writers to one bucket at once, and killed at any moment. Real processes, a real server."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.manifest import Draft
from model_store.places import open_store
from model_store.remote import RemoteStore
from tests.buckets import S3

WRITER = """
import json, os, sys
from pathlib import Path
import s3fs
from model_store.bucket import Bucket
from model_store.manifest import Draft
from model_store.places import open_store

draft = Draft.model_validate_json(sys.stdin.readline())
url, me = sys.argv[1:3]

def publish(store, content, name="toy"):
    # An ONNX model of an empty graph, operator set 18 and a producer's name.
    graph = bytes([0x3A, 0, 0x42, 2, 0x10, 18, 0x12, len(content)]) + content.encode()
    with store.stage(name) as folder:
        (folder / "model.onnx").write_bytes(graph)
        (folder / "card.md").write_text(f"# {content}")
        return store.publish(name, folder, draft).version

print("ready", flush=True)
sys.stdin.readline()
"""


def at_once(script: str, url: str, draft: Draft, count: int) -> list[str]:
    """What each of so many processes printed that began at the same moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER + script, url, str(place)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for place in range(count)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin
        process.stdin.write(draft.model_dump_json() + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return printed


def remote(url: str) -> RemoteStore:
    found = open_store(url)
    assert isinstance(found, RemoteStore)
    return found


def contents(store: RemoteStore, name: str = "toy") -> dict[int, str]:
    """Version → whose it is; every one is verified against the bucket."""
    found = {}
    for version in store.versions(name):
        bundle = store.bundle(name, version)
        bundle.verify(afresh=True)
        found[version] = bundle.path("card.md").read_text().removeprefix("# ")
    return found


def test_publishers_that_race_get_a_version_each(s3: S3, draft: Draft) -> None:
    script = """
store = open_store(url)
print(json.dumps([publish(store, f"{me}, {turn}") for turn in range(4)]))
"""
    url = s3.bucket()
    printed = [json.loads(text) for text in at_once(script, url, draft, 3)]
    assert sorted(version for versions in printed for version in versions) == list(range(1, 13))
    assert contents(remote(url)) == {
        version: f"{me}, {turn}"
        for me, versions in enumerate(printed)
        for turn, version in enumerate(versions)
    }
    assert not [key for key in remote(url).bucket.find() if "/." in key]


def test_a_publisher_that_looked_before_another_one_was_done_takes_the_next_number(
    s3: S3, draft: Draft
) -> None:
    """Its look at the bucket is as old as can be: the first one's claim came and went since."""
    script = """
store = open_store(url)
before = Bucket.find
looks = []

def find(bucket, folder=""):
    looks.append(folder)
    if len(looks) == 2:  # after the sweep's look comes the claim's
        found = before(bucket, folder)
        publish(open_store(url), "the quicker one")
        return found
    return before(bucket, folder)

Bucket.find = find
print(publish(store, "slow"))
"""
    url = s3.bucket()
    [printed] = at_once(script, url, draft, 1)
    assert printed.strip() == "2"
    assert contents(remote(url)) == {1: "the quicker one", 2: "slow"}
    assert not [key for key in remote(url).bucket.find() if "/." in key]


def test_publishers_that_race_with_the_same_content_get_a_version_each_too(
    s3: S3, draft: Draft
) -> None:
    script = """
store = open_store(url)
print(json.dumps([publish(store, "same") for turn in range(3)]))
"""
    url = s3.bucket()
    printed = [json.loads(text) for text in at_once(script, url, draft, 3)]
    versions = sorted(version for some in printed for version in some)
    assert len(set(versions)) == 9
    assert contents(remote(url)) == dict.fromkeys(versions, "same")


def test_aliases_set_at_once_are_all_there(s3: S3, draft: Draft) -> None:
    script = """
store = open_store(url)
for turn in range(4):
    store.set_alias("toy", f"alias-{me}-{turn}", 1)
"""
    url = s3.bucket()
    at_once("publish(open_store(url), me)", url, draft, 1)
    at_once(script, url, draft, 3)
    assert remote(url).aliases("toy") == {
        f"alias-{me}-{turn}": 1 for me in range(3) for turn in range(4)
    }


def test_processes_that_want_a_version_at_once_share_one_copy(s3: S3, draft: Draft) -> None:
    script = """
fetched, download = [], Bucket.download
def watched(self, key, file):
    fetched.append(key)
    download(self, key, file)
Bucket.download = watched
open_store(url).open("toy").verify()
print(json.dumps(fetched))
"""
    url = s3.bucket()
    at_once("publish(open_store(url), me)", url, draft, 1)
    printed = at_once(script, url, draft, 3)
    fetched = [key for text in printed for key in json.loads(text)]
    assert sorted(fetched) == ["toy/1/card.md", "toy/1/model.onnx"]


KILLED = """
import signal

def kill_at(moment):
    # Before the request of that number, and then after it: half a request leaves no object.
    count = 0
    def counted(method):
        def call(*arguments):
            nonlocal count
            for turn in range(2):
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                if not turn:
                    result = method(*arguments)
            return result
        return call
    for name in ("find", "read", "write", "create", "upload", "_delete"):
        setattr(Bucket, name, counted(getattr(Bucket, name)))

for moment in range(1, 100):
    child = os.fork()  # before anything has a thread
    if child == 0:
        kill_at(moment)
        act(open_store(url), moment)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    print(status, flush=True)
    if status == 0:
        break
"""


def killed_at_every_moment(act: str, url: str, draft: Draft) -> int:
    """How many moments there were."""
    (printed,) = at_once(act + KILLED, url, draft, 1)
    statuses = [int(line) for line in printed.split()]
    assert statuses == [signal.SIGKILL] * (len(statuses) - 1) + [0]
    assert len(statuses) > 12, f"only {len(statuses)} moments found"
    return len(statuses)


@pytest.mark.slow
def test_publisher_killed_at_any_moment_publishes_all_or_nothing_and_the_next_one_finishes(
    s3: S3, draft: Draft
) -> None:
    act = """
def act(store, moment):
    publish(store, "mine", f"toy-{moment}")
"""
    url = s3.bucket()
    moments = killed_at_every_moment(act, url, draft)
    store, seen = remote(url), set()
    before = store.bucket.find()
    for moment in range(1, moments + 1):
        name = f"toy-{moment}"
        found = contents(store, name)
        assert found in ({}, {1: "mine"})
        seen.add(bool(found))
    assert seen == {False, True}
    again = f"for moment in range(1, {moments + 1}): act(open_store(url), moment)"
    at_once(f"{act}\n{again}", url, draft, 1)
    after = store.bucket.find()
    for moment in range(1, moments + 1):
        name = f"toy-{moment}"
        first = f"{name}/1/manifest.json" in before
        assert contents(store, name) == ({1: "mine", 2: "mine"} if first else {1: "mine"})
        kept = [key for key in before if key.startswith(f"{name}/1/")]
        assert [after[key].tag for key in kept] == [before[key].tag for key in kept]


@pytest.mark.slow
def test_remover_killed_at_any_moment_leaves_a_whole_version_or_none(s3: S3, draft: Draft) -> None:
    prepare = """
for moment in range(1, 40):
    publish(open_store(url), "mine", f"toy-{moment}")
"""
    act = """
def act(store, moment):
    store.remove(f"toy-{moment}@1")
"""
    url = s3.bucket()
    at_once(prepare, url, draft, 1)
    moments = killed_at_every_moment(act, url, draft)
    store = remote(url)
    found = [contents(store, f"toy-{moment}") for moment in range(1, moments + 1)]
    assert found[0] == {1: "mine"}
    assert found[-1] == {}
    assert all(versions in ({}, {1: "mine"}) for versions in found)


def test_store_that_is_away_is_told_in_seconds(s3: S3, tmp_path: Path) -> None:
    url = s3.bucket()
    away = S3(tmp_path / "log")
    script = """
import time
from model_store.errors import Unreachable
started = time.monotonic()
try:
    open_store(url).names()
except Unreachable as error:
    print(json.dumps([time.monotonic() - started, str(error)]))
"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", away.environment["AWS_ENDPOINT_URL"])
        done = subprocess.run(
            [sys.executable, "-c", f"import json\nfrom model_store.places import open_store\n"
             f"url = {url!r}\n{script}"],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
    seconds, said = json.loads(done.stdout)
    assert seconds < 10
    assert said.startswith(f"{url} cannot be listed: ")
    assert str(away.port) in said


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
from model_store.cli import main
sys.exit(main(["list", "--store", sys.argv[2]]))
"""


@pytest.mark.parametrize(
    ("absent", "url", "install"),
    [
        ("fsspec", "s3://bucket/models", "pip install 'modelhub[remote]'"),
        ("s3fs", "s3://bucket/models", "pip install 'modelhub[remote]'"),
        ("gcsfs", "gs://bucket/models", "pip install 'modelhub[remote]' gcsfs"),
        ("adlfs", "az://container/models", "pip install 'modelhub[remote]' adlfs"),
    ],
)
def test_without_the_library_the_error_says_what_to_install(
    absent: str, url: str, install: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, absent, url],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"modelhub: --store {url} needs ")
    assert install in done.stderr
    assert done.stderr.count("\n") == 1
