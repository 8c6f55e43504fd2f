"""Writers at once, and writers killed at any moment. Real processes, as in life."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable

from model_store.manifest import Draft, Manifest
from model_store.store import Store

Publish = Callable[..., Manifest]

WRITER = """
import json, sys
from pathlib import Path
from model_store.manifest import Draft
from model_store.store import Store

draft = Draft.model_validate_json(sys.stdin.readline())
store, me = Store(Path(sys.argv[1])), sys.argv[2]

def publish(content):
    # An ONNX model of an empty graph, operator set 18 and a producer's name.
    graph = bytes([0x3A, 0, 0x42, 2, 0x10, 18, 0x12, len(content)]) + content.encode()
    with store.stage("toy") as folder:
        (folder / "model.onnx").write_bytes(graph)
        return store.publish("toy", folder, draft).version

print("ready", flush=True)
sys.stdin.readline()
"""


def _left_behind(store: Store) -> list[str]:
    return [entry.name for entry in store.root.rglob(".staging-*")]


class Writers:
    """Processes that all wait for one word and then do the same thing at once."""

    def __init__(self, script: str, store: Store, draft: Draft, count: int) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER + script, str(store.root), str(place)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for place in range(count)
        ]  # fmt: skip
        for process in self.processes:
            assert process.stdin
            assert process.stdout
            process.stdin.write(draft.model_dump_json() + "\n")
            process.stdin.flush()
        for process in self.processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"

    def go(self) -> list[str]:
        """What each of them printed."""
        for process in self.processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=60)[0] for process in self.processes]
        assert [process.returncode for process in self.processes] == [0] * len(self.processes)
        return printed


def test_publishers_at_once_get_a_version_each(store: Store, draft: Draft) -> None:
    script = """
for turn in range(8):
    publish(f"{me}, {turn}")
"""
    Writers(script, store, draft, 4).go()
    versions = store.versions("toy")
    assert versions == list(range(1, 33))
    bundles = [store.open(f"toy@{version}") for version in versions]
    for bundle in bundles:
        bundle.verify()
    contents = {bundle.path("model.onnx").read_bytes()[8:].decode() for bundle in bundles}
    assert contents == {f"{me}, {turn}" for me in range(4) for turn in range(8)}
    assert _left_behind(store) == []


def test_a_number_freed_while_others_publish_is_not_given_out_twice(
    store: Store, draft: Draft
) -> None:
    script = """
taken = []
for turn in range(8):
    taken.append(publish(f"{me}, {turn}"))
    store.remove(f"toy@{taken[-1]}")
print(json.dumps(taken))
"""
    printed = Writers(script, store, draft, 4).go()
    taken = [version for text in printed for version in json.loads(text)]
    assert sorted(taken) == list(range(1, 33))


def test_aliases_set_at_once_are_all_there(publish: Publish, store: Store, draft: Draft) -> None:
    publish()
    script = """
for turn in range(15):
    store.set_alias("toy", f"alias-{me}-{turn}", 1)
    assert store.aliases("toy")[f"alias-{me}-{turn}"] == 1
"""
    Writers(script, store, draft, 4).go()
    assert store.aliases("toy") == {
        f"alias-{me}-{turn}": 1 for me in range(4) for turn in range(15)
    }


def test_readers_always_see_whole_aliases(publish: Publish, store: Store, draft: Draft) -> None:
    publish()
    store.set_alias("toy", "stable", 1)
    script = """
for turn in range(200):
    store.set_alias("toy", "stable", 1)
"""
    writers = Writers(script, store, draft, 1)
    process = writers.processes[0]
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()
    while process.poll() is None:
        assert store.aliases("toy") == {"stable": 1}
    process.communicate()


def test_a_publisher_killed_while_it_stages_leaves_nothing_visible(
    publish: Publish, store: Store, draft: Draft
) -> None:
    script = """
with store.stage("toy") as folder:
    (folder / "model.onnx").write_text("half")
    print("staged", flush=True)
    sys.stdin.readline()
"""
    process = Writers(script, store, draft, 1).processes[0]
    assert process.stdin
    assert process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "staged\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert store.names() == []
    assert len(_left_behind(store)) == 1
    assert publish().version == 1


KILLED = """
import os, signal

what, count = sys.argv[2], 0

def kill_at(moment):
    # Nearly every call that touches the disk raises an audit event: die at the one asked for.
    def hook(event, arguments):
        global count
        if event == "open" and str(arguments[0]).endswith(".pyc"):
            return
        if event.startswith(("open", "os.", "shutil.", "tempfile.", "fcntl.", "pathlib.")):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def act():
    if what == "publish":
        publish("new")
    elif what == "alias":
        store.set_alias("toy", "stable", 1)
    else:
        store.remove("toy@2")

for moment in range(1, 200):
    before = [publish("first"), publish("second")][0] if not store.versions("toy") else 0
    child = os.fork()
    if child == 0:
        kill_at(moment)
        act()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    versions = store.versions("toy")
    for version in versions:
        store.open(f"toy@{version}").verify()
    aliases = store.aliases("toy")
    print(json.dumps([status, versions, aliases, publish("next")]), flush=True)
    if status == 0:
        break
    if what == "remove":
        import shutil
        shutil.rmtree(store.root / "toy")
"""


def _killed_at_every_moment(
    what: str, store: Store, draft: Draft
) -> list[tuple[int, list[int], dict[str, int], int]]:
    """One (exit status, versions, aliases, next version) a moment; the last one was not killed."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER + KILLED, str(store.root), what],
        input=draft.model_dump_json() + "\ngo\n", text=True, check=True, timeout=60,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    rows = [tuple(json.loads(line)) for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == [signal.SIGKILL] * (len(rows) - 1) + [0]
    assert len(rows) >= 5, f"only {len(rows) - 1} moments found to kill {what} at"
    return rows


def test_a_publisher_killed_at_any_moment_publishes_all_or_nothing(
    store: Store, draft: Draft
) -> None:
    """Each version that is visible was verified by the process itself; here the numbers."""
    before = [1, 2]
    for _, versions, _, following in _killed_at_every_moment("publish", store, draft):
        assert versions in (before, [*before, before[-1] + 1])
        assert following == versions[-1] + 1
        before = [*versions, following]


def test_a_writer_of_aliases_killed_at_any_moment_leaves_the_old_or_the_new(
    store: Store, draft: Draft
) -> None:
    rows = _killed_at_every_moment("alias", store, draft)
    assert rows[0][2] == {}
    assert rows[-1][2] == {"stable": 1}
    assert all(aliases in ({}, {"stable": 1}) for _, _, aliases, _ in rows)


def test_a_remover_killed_at_any_moment_leaves_a_whole_version_or_none(
    store: Store, draft: Draft
) -> None:
    rows = _killed_at_every_moment("remove", store, draft)
    assert rows[0][1] == [1, 2]
    assert rows[-1][1] == [1]
    assert all(versions in ([1, 2], [1]) for _, versions, _, _ in rows)
    assert {following for _, _, _, following in rows} == {3}
