"""A published bundle is refused for any change, and the message names the file."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.bundle import entry_of
from model_store.errors import BadManifest, CorruptBundle
from model_store.manifest import Manifest
from model_store.spec import Encoded
from model_store.store import Store

Publish = Callable[..., Manifest]

FILES = ["manifest.json", "model.onnx", "card.md", "pictures/curve.png"]


def _read(store: Store) -> None:
    store.open("toy").verify()


@pytest.mark.parametrize("file", FILES)
def test_a_changed_byte_is_refused_with_the_files_name(
    publish: Publish, store: Store, file: str
) -> None:
    publish()
    path = store.root / "toy" / "1" / file
    text = path.read_bytes()
    path.write_bytes(text[:-2] + bytes([text[-2] ^ 1]) + text[-1:])
    with pytest.raises((BadManifest, CorruptBundle), match=re.escape(file)):
        _read(store)


@pytest.mark.parametrize("file", FILES)
def test_a_longer_or_shorter_file_is_refused_with_its_name(
    publish: Publish, store: Store, file: str
) -> None:
    publish()
    path = store.root / "toy" / "1" / file
    text = path.read_bytes()
    for changed in (text + b"\n", text[:-1], b""):
        path.write_bytes(changed)
        with pytest.raises((BadManifest, CorruptBundle), match=re.escape(file)):
            _read(store)


@pytest.mark.parametrize("file", FILES)
def test_a_deleted_file_is_refused_with_its_name(publish: Publish, store: Store, file: str) -> None:
    publish()
    (store.root / "toy" / "1" / file).unlink()
    with pytest.raises((BadManifest, CorruptBundle), match=f"{re.escape(file)} cannot be read"):
        _read(store)


@pytest.mark.parametrize("file", FILES)
def test_a_link_to_outside_is_refused_though_the_content_is_the_same(
    publish: Publish, store: Store, tmp_path: Path, file: str
) -> None:
    publish()
    path, outside = store.root / "toy" / "1" / file, tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises((BadManifest, CorruptBundle), match=f"{re.escape(file)} points outside"):
        _read(store)


@pytest.mark.parametrize("file", FILES)
def test_a_folder_in_place_of_a_file_is_refused(publish: Publish, store: Store, file: str) -> None:
    publish()
    path = store.root / "toy" / "1" / file
    path.unlink()
    path.mkdir()
    with pytest.raises((BadManifest, CorruptBundle), match=f"{re.escape(file)} cannot be read"):
        _read(store)


def test_a_bundle_copied_to_another_name_or_number_is_refused(
    publish: Publish, store: Store
) -> None:
    publish()
    (store.root / "toy" / "1").rename(store.root / "toy" / "5")
    with pytest.raises(BadManifest, match=r"is of toy@1, but lies in toy/5"):
        store.open("toy")


def test_a_file_that_is_not_listed_has_no_path(publish: Publish, store: Store) -> None:
    publish()
    (store.root / "toy" / "1" / "extra.bin").write_bytes(b"x")
    for name in ("extra.bin", "../aliases.json", "/etc/passwd"):
        with pytest.raises(CorruptBundle, match="is not listed in the manifest"):
            store.open("toy").path(name)


def test_a_link_inside_the_bundle_is_as_good_as_the_file(publish: Publish, store: Store) -> None:
    """As Kubernetes mounts files: each a link into a folder beside it."""
    publish()
    folder = store.open("toy").folder
    (folder / "..data").mkdir()
    (folder / "card.md").rename(folder / "..data" / "card.md")
    (folder / "card.md").symlink_to(Path("..data") / "card.md")
    _read(store)


def test_a_store_behind_a_link_is_as_good_as_the_folder(
    publish: Publish, store: Store, tmp_path: Path
) -> None:
    publish()
    (tmp_path / "link").symlink_to(store.root)
    linked = Store(tmp_path / "link").open("toy")
    linked.verify()
    assert linked.path("model.onnx").read_bytes() == b"a graph, for all the store knows"


def test_an_entry_is_the_files_hash_and_size(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    entry = entry_of(tmp_path / "abc")
    # FIPS 180-2, appendix B.1
    assert entry.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert entry.size_bytes == 3


def test_a_verbs_encoder_takes_its_example(publish: Publish, store: Store) -> None:
    publish()
    bundle = store.open("toy")
    encoded: Encoded = bundle.encoder("predict")(bundle.manifest.verbs["predict"].example, None)
    assert encoded.tensors["table"].tolist() == [[1.5, -2.0]]
