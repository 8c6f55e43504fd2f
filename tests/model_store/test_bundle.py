"""A published bundle is refused for any change, and the message names the file."""

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from model_store.bundle import Bundle, entry_of
from model_store.errors import BadManifest, CorruptBundle
from model_store.manifest import Draft, Manifest
from model_store.spec import Encoded
from model_store.store import Store
from tests.model_store.graphs import stored

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


@pytest.mark.parametrize("file", FILES[1:])
def test_a_deleted_file_is_refused_with_its_name(publish: Publish, store: Store, file: str) -> None:
    publish()
    (store.root / "toy" / "1" / file).unlink()
    with pytest.raises((BadManifest, CorruptBundle), match=f"{re.escape(file)} cannot be read"):
        _read(store)


def test_a_bundle_whose_manifest_is_gone_is_a_plain_graph_and_says_so(
    publish: Publish, store: Store
) -> None:
    published = publish()
    (store.root / "toy" / "1" / "manifest.json").unlink()
    bundle = store.open("toy")
    bundle.verify()
    assert bundle.manifest.inferred
    assert not published.inferred
    (bundle.folder / "model.onnx").unlink()
    with pytest.raises(BadManifest, match=r"manifest\.json cannot be read: No such file"):
        store.open("toy")


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
    assert linked.path("card.md").read_text() == "# Toy\n"


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


# --- graphs ------------------------------------------------------------------------------------


def _leading_to(graph: bytes, location: str) -> bytes:
    """The graph with weights in another file."""
    model = onnx.ModelProto.FromString(graph)
    model.graph.initializer.append(stored(location))
    return bytes(model.SerializeToString())


def test_a_graph_that_leads_out_of_its_bundle_is_refused_as_published(
    publish: Publish, store: Store, graph: bytes
) -> None:
    (store.root / "toy").mkdir(parents=True)
    (store.root / "toy" / "secret.bin").write_bytes(bytes(8))
    for location in ("../secret.bin", "/etc/passwd"):
        publish(content=_leading_to(graph, location))
        with pytest.raises(CorruptBundle, match=f"keeps weights in '{location}', which lies"):
            _read(store)


def test_weights_beside_the_graph_are_good_if_they_were_published_too(
    store: Store, draft: Draft, graph: bytes
) -> None:
    with store.stage("toy") as folder:
        (folder / "model.onnx").write_bytes(_leading_to(graph, "./weights.bin"))
        (folder / "weights.bin").write_bytes(bytes(8))
        store.publish("toy", folder, draft)
    _read(store)


def test_weights_put_beside_the_graph_later_are_refused(
    publish: Publish, store: Store, graph: bytes
) -> None:
    publish(content=_leading_to(graph, "weights.bin"))
    (store.root / "toy" / "1" / "weights.bin").write_bytes(bytes(8))
    with pytest.raises(CorruptBundle, match=r"weights\.bin is not listed in the manifest"):
        _read(store)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x3a\x7f"])
def test_what_was_published_in_place_of_a_graph_is_refused(
    publish: Publish, store: Store, content: bytes
) -> None:
    publish(content=content)
    with pytest.raises(CorruptBundle, match=r"model\.onnx is cut off or not ONNX"):
        _read(store)


@pytest.mark.parametrize("file", ["model.onnx", "pictures/curve.png"])
def test_a_file_that_git_has_not_fetched_is_refused_with_the_remedy(
    publish: Publish, store: Store, file: str
) -> None:
    publish()
    path = store.root / "toy" / "1" / file
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(CorruptBundle, match=f"{path.name} is a Git LFS pointer.*git lfs pull"):
        _read(store)


def test_a_plain_graph_is_opened_and_proved_as_far_as_it_goes(plain: Callable[..., Path]) -> None:
    bundle = Bundle.open(plain())
    bundle.verify()
    (bundle.folder / "model.onnx").write_bytes(b"\x3a\x7f")
    with pytest.raises(CorruptBundle, match=r"model\.onnx is cut off or not ONNX"):
        bundle.verify()


def test_a_manifest_that_is_a_link_to_nowhere_is_no_plain_graph(
    plain: Callable[..., Path],
) -> None:
    folder = plain()
    (folder / "manifest.json").symlink_to("nowhere")
    with pytest.raises(BadManifest, match=r"manifest\.json cannot be read"):
        Bundle.open(folder)
