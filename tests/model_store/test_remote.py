"""The store in a bucket keeps the folder store's promises: over S3, Google's and Azure's protocols,
a folder and memory.
"""

import concurrent.futures
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.copies import Copies
from model_store.errors import (
    BadManifest,
    BadName,
    CorruptBundle,
    NotFound,
    StoreError,
    Unreachable,
    VersionInUse,
)
from model_store.manifest import Draft, Manifest
from model_store.places import open_store, place
from model_store.remote import CLAIM_S, RemoteBundle, RemoteStore
from model_store.store import Store
from tests.buckets import S3, free_port
from tests.emulators import Emulator, azure, azure_address, google
from tests.model_store.commands import Modelhub

Put = Callable[..., Manifest]
FILES = ["card.md", "model.onnx", "pictures/curve.png"]


@pytest.fixture(scope="session")
def gs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with google(tmp_path_factory.mktemp("gs")) as server:
        yield server


@pytest.fixture(scope="session")
def az_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with azure(tmp_path_factory.mktemp("az")) as server:
        yield server


@pytest.fixture(params=["s3", "gs", "az", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a store of each kind is; empty."""
    if request.param == "s3":
        s3: S3 = request.getfixturevalue("s3")
        return s3.bucket()
    monkeypatch.setenv("MODELHUB_CACHE", str(tmp_path / "cache"))
    if request.param in ("gs", "az"):
        server: Emulator = request.getfixturevalue(f"{request.param}_server")
        for variable, value in server.environment.items():
            monkeypatch.setenv(variable, value)
        return server.bucket()
    name = uuid.uuid4().hex
    return f"file://{tmp_path}/{name}" if request.param == "file" else f"memory://{name}/models"


@pytest.fixture
def remote(url: str) -> RemoteStore:
    found = open_store(place(url))
    assert isinstance(found, RemoteStore)
    return found


@pytest.fixture
def put(draft: Draft, graph: bytes) -> Put:
    """``put(store)`` publishes a bundle of three files."""

    def put(store: Store, name: str = "toy", card: str = "# Toy\n") -> Manifest:
        with store.stage(name) as folder:
            (folder / "model.onnx").write_bytes(graph)
            (folder / "card.md").write_text(card)
            (folder / "pictures").mkdir()
            (folder / "pictures" / "curve.png").write_bytes(b"\x89PNG")
            return store.publish(name, folder, draft)

    return put


def elsewhere(remote: RemoteStore, cache: Path) -> RemoteStore:
    """The same bucket, seen from a machine that has no copies."""
    return RemoteStore(remote.bucket, Copies(cache))


# --- publishing and fetching -------------------------------------------------------------------


def test_what_is_published_is_fetched_elsewhere_byte_for_byte(
    remote: RemoteStore, put: Put, graph: bytes, tmp_path: Path
) -> None:
    published = put(remote)
    assert (published.name, published.version) == ("toy", 1)
    other = elsewhere(remote, tmp_path / "other")
    bundle = other.open("toy")
    assert bundle.manifest == published
    assert bundle.path("model.onnx").read_bytes() == graph
    bundle.verify()
    found = {p.relative_to(bundle.folder).as_posix() for p in bundle.folder.rglob("*.*")}
    assert found == {*FILES, "manifest.json"}


def test_layout_in_the_bucket_is_the_folders(remote: RemoteStore, put: Put) -> None:
    put(remote)
    remote.set_alias("toy", "stable", 1)
    files = {f"toy/1/{file}" for file in (*FILES, "manifest.json")}
    assert set(remote.bucket.find()) == {*files, "toy/aliases.json"}


def test_store_without_models_is_empty_and_not_an_error(remote: RemoteStore) -> None:
    assert remote.names() == []
    assert remote.versions("toy") == []
    assert remote.aliases("toy") == {}
    assert remote.stamps() == {}
    with pytest.raises(NotFound, match="no model 'toy'"):
        remote.open("toy")
    with pytest.raises(BadName):
        remote.versions("../toy")


def test_versions_and_aliases_follow_the_folders_rules(remote: RemoteStore, put: Put) -> None:
    assert [put(remote).version for _ in range(3)] == [1, 2, 3]
    assert remote.names() == ["toy"]
    assert remote.resolve("toy") == ("toy", 3)
    remote.set_alias("toy", "stable", 2)
    remote.set_alias("toy", "next", 3)
    assert remote.aliases("toy") == {"next": 3, "stable": 2}
    assert remote.resolve("toy") == ("toy", 2)
    with pytest.raises(VersionInUse, match="toy@2 is stable"):
        remote.remove("toy@2")
    remote.drop_alias("toy", "stable")
    assert remote.remove("toy@1") == [1]
    assert remote.versions("toy") == [2, 3]
    with pytest.raises(NotFound, match="has no version 1"):
        remote.open("toy@1")
    with pytest.raises(NotFound, match="has no version 9"):
        remote.set_alias("toy", "stable", 9)
    assert remote.remove("toy") == [2, 3]
    assert remote.names() == []
    assert remote.aliases("toy") == {}
    assert put(remote).version == 4, "a number is never given to other content"


def test_publishers_at_once_get_a_number_each(remote: RemoteStore, put: Put) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        cards = [f"# Toy {number}\n" for number in range(4)]
        published = list(pool.map(lambda card: put(remote, card=card).version, cards))
    assert sorted(published) == [1, 2, 3, 4] == remote.versions("toy")


def test_stamp_changes_with_every_change_that_readers_can_see(
    remote: RemoteStore, put: Put
) -> None:
    seen = [remote.stamps()]
    put(remote)
    seen.append(remote.stamps())
    put(remote, "other")
    assert remote.stamps()["toy"] == seen[-1]["toy"]
    remote.remove("other")
    put(remote)
    seen.append(remote.stamps())
    remote.set_alias("toy", "stable", 1)
    seen.append(remote.stamps())
    remote.set_alias("toy", "stable", 2)
    seen.append(remote.stamps())
    remote.remove("toy@1")
    seen.append(remote.stamps())
    assert len({stamps.get("toy") for stamps in seen}) == len(seen)
    assert remote.stamps() == seen[-1]


# --- copies ------------------------------------------------------------------------------------


def downloads(remote: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every key that is fetched from now on."""
    keys: list[str] = []
    download = remote.bucket.download

    def watched(key: str, file: Path) -> None:
        keys.append(key)
        download(key, file)

    monkeypatch.setattr(remote.bucket, "download", watched)
    return keys


def test_listing_and_resolving_fetch_no_file(
    remote: RemoteStore, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(remote)
    keys = downloads(remote, monkeypatch)
    assert [remote.open(name).manifest.version for name in remote.names()] == [1]
    assert keys == []
    remote.open("toy").path("card.md")
    assert keys == ["toy/1/card.md"]


def test_equal_content_is_fetched_and_kept_once_whatever_it_belongs_to(
    remote: RemoteStore, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(remote)
    put(remote, card="# Second\n")
    put(remote, "other")
    copies = Copies(tmp_path / "other")
    store = RemoteStore(remote.bucket, copies)
    keys = downloads(remote, monkeypatch)
    for ref in ("toy@1", "toy@2", "other"):
        store.open(ref).verify()
    assert sorted(keys) == sorted([*(f"toy/1/{file}" for file in FILES), "toy/2/card.md"])
    files = [store.open("toy@1").path(file) for file in FILES] + [store.open("toy").path("card.md")]
    assert copies.size() == (4, sum(path.stat().st_size for path in files))


def test_many_who_want_a_file_at_once_fetch_it_once(
    remote: RemoteStore, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(remote)
    stores = [elsewhere(remote, tmp_path / "other") for _ in range(8)]
    keys = downloads(remote, monkeypatch)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda store: store.open("toy").verify(), stores))
    assert sorted(keys) == sorted(f"toy/1/{file}" for file in FILES)


def test_copy_that_has_rotted_is_fetched_again(remote: RemoteStore, put: Put) -> None:
    put(remote)
    path = remote.open("toy").path("card.md")
    path.write_text("# Rot\n")
    remote.open("toy").verify()
    assert remote.open("toy").path("card.md").read_text() == "# Toy\n"


def test_file_that_is_not_listed_or_leads_out_is_refused(remote: RemoteStore, put: Put) -> None:
    put(remote)
    for name in ("secret", "../1/card.md"):
        with pytest.raises(CorruptBundle, match="not listed"):
            remote.open("toy").path(name)


# --- damage ------------------------------------------------------------------------------------


def test_changed_object_is_refused_by_its_url_and_nothing_of_it_is_kept(
    remote: RemoteStore, put: Put, tmp_path: Path
) -> None:
    put(remote)
    remote.bucket.write("toy/1/model.onnx", b"changed")
    store = elsewhere(remote, tmp_path / "other")
    where = f"{remote.bucket.url}/toy/1/model.onnx: expected sha256 .* got .* of 7"
    for _ in range(2):
        with pytest.raises(CorruptBundle, match=where):
            store.open("toy").verify()
    assert not list((tmp_path / "other").rglob("model.onnx"))


def test_verifying_afresh_reads_the_bucket_and_not_the_copies(
    remote: RemoteStore, put: Put
) -> None:
    put(remote)
    remote.open("toy").verify()
    remote.bucket.write("toy/1/card.md", b"# Bad\n")
    remote.open("toy").verify()
    with pytest.raises(CorruptBundle, match=r"toy/1/card\.md: expected sha256"):
        remote.open("toy").verify(afresh=True)


def test_missing_object_is_named(remote: RemoteStore, put: Put) -> None:
    put(remote)
    remote.bucket.delete(["toy/1/card.md"])
    with pytest.raises(CorruptBundle, match=r"://.*/toy/1/card\.md is missing"):
        remote.open("toy").verify()


def test_manifest_that_cannot_be_read_or_is_anothers_is_named(
    remote: RemoteStore, put: Put
) -> None:
    manifest = put(remote)
    remote.bucket.write("toy/2/manifest.json", manifest.to_json())
    with pytest.raises(BadManifest, match=r"toy/2/manifest\.json is of toy@1"):
        remote.open("toy@2")
    remote.bucket.write("toy/3/manifest.json", b"{")
    with pytest.raises(BadManifest, match=r"://.*toy/3/manifest\.json: "):
        remote.open("toy")
    remote.bucket.write("toy/aliases.json", b"[]")
    with pytest.raises(StoreError, match=r"aliases\.json is damaged"):
        remote.aliases("toy")


def test_cache_that_cannot_be_written_is_named(
    remote: RemoteStore, put: Put, tmp_path: Path
) -> None:
    put(remote)
    (tmp_path / "no-folder").write_text("")
    store = elsewhere(remote, tmp_path / "no-folder")
    with pytest.raises(StoreError, match=r"the cache .*no-folder.* MODELHUB_CACHE"):
        store.open("toy").path("card.md")


# --- uploads that were cut off -----------------------------------------------------------------


def cut_off(
    remote: RemoteStore, put: Put, monkeypatch: pytest.MonkeyPatch, uploads: int = 2
) -> None:
    """Publish, and fail at the upload after so many."""
    upload, count = remote.bucket.upload, 0

    def failing(file: Path, key: str) -> None:
        nonlocal count
        count += 1
        if count > uploads:
            raise Unreachable("cut off")
        upload(file, key)

    with monkeypatch.context() as patch:
        patch.setattr(remote.bucket, "upload", failing)
        with pytest.raises(Unreachable, match="cut off"):
            put(remote)


def uploads_of(remote: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    keys: list[str] = []
    upload = remote.bucket.upload

    def watched(file: Path, key: str) -> None:
        keys.append(key)
        upload(file, key)

    monkeypatch.setattr(remote.bucket, "upload", watched)
    return keys


def test_upload_that_was_cut_off_is_invisible_and_taken_up_where_it_ended(
    remote: RemoteStore, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(remote, put, monkeypatch)
    assert remote.names() == []
    assert remote.stamps() == {}
    assert len(remote.bucket.find()) == 3  # two files and the claim
    keys = uploads_of(remote, monkeypatch)
    assert put(remote).version == 1
    assert keys == ["toy/1/pictures/curve.png"]
    remote.open("toy").verify(afresh=True)
    assert "toy/.claim-1" not in remote.bucket.find()


def test_other_content_does_not_take_up_what_was_cut_off(
    remote: RemoteStore, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(remote, put, monkeypatch)
    assert put(remote, card="# Other\n").version == 2
    assert remote.versions("toy") == [2]
    remote.open("toy").verify(afresh=True)
    assert put(remote).version == 1  # the first one comes back


def test_upload_cut_off_long_ago_is_swept_away_and_its_number_never_given_again(
    remote: RemoteStore, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(remote, put, monkeypatch)
    claim = json.loads(remote.bucket.read("toy/.claim-1") or b"")
    claim["created"] -= 2 * CLAIM_S + 1
    remote.bucket.write("toy/.claim-1", json.dumps(claim).encode())
    assert put(remote).version == 2
    left = {key for key in remote.bucket.find() if not key.startswith("toy/2/")}
    assert left == {"toy/.removed-1"}


def test_removal_that_was_cut_off_is_finished_by_the_next_publisher(
    remote: RemoteStore, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(remote)
    with monkeypatch.context() as patch:
        patch.setattr(remote.bucket, "find", _fails_in_the_versions_folder(remote))
        with pytest.raises(Unreachable):
            remote.remove("toy@1")
    assert remote.versions("toy") == []
    remote.bucket.delete(["toy/.lock"])
    assert put(remote).version == 2
    assert not [key for key in remote.bucket.find() if key.startswith("toy/1/")]


def _fails_in_the_versions_folder(remote: RemoteStore) -> Callable[[str], object]:
    find = remote.bucket.find

    def failing(folder: str = "") -> object:
        if folder == "toy/1":
            raise Unreachable("cut off")
        return find(folder)

    return failing


def test_lock_of_a_writer_that_died_is_broken(remote: RemoteStore, put: Put) -> None:
    put(remote)
    remote.bucket.write("toy/.lock", json.dumps({"created": 0}).encode())
    remote.set_alias("toy", "stable", 1)
    assert "toy/.lock" not in remote.bucket.find()


def test_folder_store_copied_into_a_bucket_is_a_store(
    remote: RemoteStore, publish: Put, store: Store, put: Put
) -> None:
    publish()
    publish()
    store.set_alias("toy", "stable", 1)
    publish()
    store.remove("toy@3")
    for path in store.root.rglob("*"):
        if path.is_file():
            remote.bucket.write(path.relative_to(store.root).as_posix(), path.read_bytes())
    assert remote.versions("toy") == [1, 2]
    assert remote.resolve("toy") == ("toy", 1)
    remote.open("toy@2").verify(afresh=True)
    remote.set_alias("toy", "stable", 2)
    assert put(remote).version == 4


# --- URLs --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("s3")
def test_missing_bucket_is_named_and_nothing_else_happens(put: Put) -> None:
    store = open_store("s3://no-such-bucket/models")
    where = r"s3://no-such-bucket/models cannot be listed: The specified bucket does not exist"
    with pytest.raises(Unreachable, match=where):
        store.names()
    with pytest.raises(Unreachable, match="s3://no-such-bucket/models/toy"):
        put(store)


def test_url_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(StoreError, match=r"--store ftp://host/models: expected a folder or one of"):
        open_store(place("ftp://host/models"))


def test_folder_is_no_url(tmp_path: Path) -> None:
    assert type(open_store(place(str(tmp_path)))) is Store
    assert place("models") == Path("models")
    assert place("s3://bucket/models") == "s3://bucket/models"


def test_wrong_credential_is_told_with_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Put
) -> None:
    strict = S3(tmp_path / "log", INITIAL_NO_AUTH_ACTION_COUNT="1")
    strict.start()
    try:
        url = strict.bucket()  # the one action that needs no key
        for name, value in strict.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MODELHUB_CACHE", str(tmp_path / "cache"))
        store = open_store(url)
        with pytest.raises(Unreachable, match=rf"{url} cannot be listed: .*Access Key"):
            store.names()
        with pytest.raises(Unreachable, match=rf"{url}/toy cannot be listed: "):
            put(store)
    finally:
        strict.stop()


def test_azure_that_is_away_is_told_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("adlfs", reason="adlfs is not installed: az:// NOT CHECKED")
    monkeypatch.setenv("MODELHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(*azure_address(port := free_port()))
    started = time.monotonic()
    with pytest.raises(Unreachable, match=rf"az://hub/models cannot be listed: .*{port}"):
        open_store("az://hub/models").names()
    assert time.monotonic() - started < 90  # as it comes, three minutes


# --- the command -------------------------------------------------------------------------------


class Remotely(Modelhub):
    """The command on a bucket."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(Store(Path("unused")), capsys)
        self.where = url


def test_every_command_of_the_store_takes_a_url(
    remote: RemoteStore, url: str, put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    put(remote)
    put(remote)
    modelhub = Remotely(url, capsys)
    assert [row["versions"] for row in modelhub.json("list")] == [[1, 2]]
    assert modelhub.json("show", "toy")["folder"] == f"{url}/toy/2"
    assert json.loads(modelhub("example", "toy")[1]) == {"inputs": [[1.5, -2.0]]}
    assert modelhub.json("alias", "toy", "stable", "1") == {"name": "toy", "aliases": {"stable": 1}}
    assert [row["ok"] for row in modelhub.json("verify")] == [True, True]
    assert modelhub.json("rm", "toy@2") == {"name": "toy", "removed": [2]}
    remote.bucket.write("toy/1/card.md", b"")
    code, out, _ = modelhub("verify", "toy")
    assert code == 1
    assert f"toy@1: {url}/toy/1/card.md: expected sha256" in out
    assert remote.versions("toy") == [1]


def test_cache_command_shows_the_size_of_the_copies_and_clears_them(
    remote: RemoteStore, url: str, put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    put(remote)
    modelhub = Remotely(url, capsys)
    assert modelhub.json("cache")["files"] == 0
    remote.open("toy").verify()
    told = modelhub.json("cache")
    assert (told["files"], told["size_bytes"]) == (3, remote.open("toy").manifest.size_bytes)
    assert "3 files" in modelhub("cache")[1]
    assert modelhub.json("cache", "--clear")["files"] == 0
    bundle = remote.open("toy")
    assert isinstance(bundle, RemoteBundle)
    bundle.verify()
