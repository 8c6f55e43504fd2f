import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.bundle import Bundle
from model_store.errors import (
    BadManifest,
    BadName,
    CorruptBundle,
    NotFound,
    StoreError,
    VersionInUse,
)
from model_store.manifest import Draft, Manifest
from model_store.store import NAME, STALE_STAGING_S, Store, split_ref

Publish = Callable[..., Manifest]

BAD_NAMES = [
    "", ".", "..", "../toy", "a/b", "a\\b", "/toy", "a" * 64, "Toy", "naïve", "toy\n", " toy",
    "-toy", ".toy", "_toy", "to y", "toy\0", "数字",
]  # fmt: skip


# --- names and references ----------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_exist_is_refused_everywhere(
    store: Store, draft: Draft, name: str
) -> None:
    with pytest.raises(BadName):
        store.versions(name)
    with pytest.raises(BadName):
        store.resolve(name)
    with pytest.raises(BadName), store.stage(name):
        pass
    with pytest.raises(BadName):
        store.publish(name, store.root, draft)
    with pytest.raises(BadName):
        store.remove(name)
    with pytest.raises(BadName):
        store.set_alias(name, "stable", 1)
    assert not store.root.exists()


@given(
    st.from_regex(NAME, fullmatch=True), st.one_of(st.just(""), st.from_regex(NAME, fullmatch=True))
)
def test_a_good_reference_is_split_at_its_sign(name: str, selector: str) -> None:
    ref = f"{name}@{selector}" if selector else name
    assert split_ref(ref) == (name, selector)


@given(st.text().filter(lambda text: not re.fullmatch(rf"{NAME.pattern}(@{NAME.pattern})?", text)))
def test_any_other_text_is_no_reference(ref: str) -> None:
    with pytest.raises(BadName, match="expected"):
        split_ref(ref)


@pytest.mark.parametrize(
    "ref", ["toy@", "@1", "toy@@1", "toy@1@2", "toy@-1", "toy@STABLE", "toy@ 1"]
)
def test_a_reference_with_a_slip_is_refused(ref: str) -> None:
    with pytest.raises(BadName):
        split_ref(ref)


def test_longest_name_is_63_characters(publish: Publish, store: Store) -> None:
    name = "a" * 63
    publish(name)
    assert store.resolve(f"{name}@1") == (name, 1)


# --- resolving ---------------------------------------------------------------------------------


def test_a_bare_name_is_the_newest_version(publish: Publish, store: Store) -> None:
    for _ in range(11):
        publish()
    assert store.versions("toy") == list(range(1, 12))  # by number: 9, 10, 11
    assert store.resolve("toy") == ("toy", 11)


def test_stable_wins_over_the_newest(publish: Publish, store: Store) -> None:
    publish()
    publish()
    store.set_alias("toy", "stable", 1)
    assert store.resolve("toy") == ("toy", 1)
    assert store.resolve("toy@2") == ("toy", 2)
    store.drop_alias("toy", "stable")
    assert store.resolve("toy") == ("toy", 2)


def test_another_alias_does_not_change_what_the_bare_name_means(
    publish: Publish, store: Store
) -> None:
    publish()
    publish()
    store.set_alias("toy", "old", 1)
    assert store.resolve("toy") == ("toy", 2)
    assert store.resolve("toy@old") == ("toy", 1)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("other", "no model 'other' in the store"),
        ("other@1", "no model 'other' in the store"),
        ("toy@2", r"toy has no version 2; it has \[1\]"),
        ("toy@0", "toy has no alias '0'"),
        ("toy@01", "toy has no alias '01'"),
        ("toy@99999999999999999999", "toy has no alias"),
        ("toy@canary", r"toy has no alias 'canary'; it has \['stable'\]"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    publish: Publish, store: Store, ref: str, words: str
) -> None:
    publish()
    store.set_alias("toy", "stable", 1)
    with pytest.raises(NotFound, match=words):
        store.resolve(ref)


def test_an_empty_store_and_one_that_is_not_there_have_no_models(tmp_path: Path) -> None:
    assert Store(tmp_path).names() == []
    assert Store(tmp_path / "nowhere").names() == []


def test_what_is_not_a_model_is_not_listed(publish: Publish, store: Store) -> None:
    publish()
    (store.root / "README.md").write_text("not a model")
    (store.root / "empty").mkdir()
    (store.root / ".training").mkdir()
    (store.root / "toy" / "2").write_text("a file is no version")
    (store.root / "toy" / "03").mkdir()
    (store.root / "toy" / "0").mkdir()
    assert store.names() == ["toy"]
    assert store.versions("toy") == [1]


# --- publishing --------------------------------------------------------------------------------


def test_published_bundle_has_every_file_with_its_hash(publish: Publish, store: Store) -> None:
    manifest = publish()
    assert sorted(manifest.files) == ["card.md", "model.onnx", "pictures/curve.png"]
    bundle = store.open("toy")
    assert bundle.manifest == manifest
    bundle.verify()


def test_a_plain_graph_is_a_version_and_the_next_to_be_published_follows_it(
    publish: Publish, store: Store, plain: Callable[..., Path]
) -> None:
    plain(name="toy", version=2)
    plain(name="toy", version=5)
    assert store.versions("toy") == [2, 5]
    assert store.open("toy").manifest.inferred
    assert publish().version == 6
    assert not store.open("toy").manifest.inferred
    store.set_alias("toy", "stable", 2)
    assert store.open("toy").manifest.version == 2
    assert store.remove("toy@5") == [5]


def test_a_version_with_neither_manifest_nor_graph_cannot_be_opened(store: Store) -> None:
    (store.root / "toy" / "1").mkdir(parents=True)
    assert store.names() == ["toy"]
    with pytest.raises(BadManifest, match=r"manifest\.json cannot be read: No such file"):
        store.open("toy")


def test_created_is_now_in_unix_seconds(publish: Publish) -> None:
    assert abs(publish().created - time.time()) < 5


def test_a_staged_manifest_is_replaced_not_listed(store: Store, draft: Draft, graph: bytes) -> None:
    with store.stage("toy") as folder:
        (folder / "model.onnx").write_bytes(graph)
        (folder / "manifest.json").write_text("from an earlier life")
        manifest = store.publish("toy", folder, draft)
    assert list(manifest.files) == ["model.onnx"]
    store.open("toy").verify()


def test_a_link_is_not_published(store: Store, draft: Draft, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.onnx").write_bytes(b"graph")
    with store.stage("toy") as folder:
        (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
        with pytest.raises(CorruptBundle, match=r"model\.onnx is a link"):
            store.publish("toy", folder, draft)
    assert store.names() == []


def test_a_draft_that_does_not_fit_its_files_is_not_published(store: Store, draft: Draft) -> None:
    with pytest.raises(ValueError, match="not among the files"), store.stage("toy") as folder:
        store.publish("toy", folder, draft)
    assert store.names() == []
    assert _left_behind(store) == []


def test_staging_is_gone_after_a_failure(store: Store) -> None:
    def fail() -> None:
        with store.stage("toy") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert store.names() == []
    assert _left_behind(store) == []


def test_readers_never_see_a_staged_folder(store: Store, draft: Draft) -> None:
    with store.stage("toy") as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        assert store.names() == []
        assert store.versions("toy") == []
        with pytest.raises(NotFound):
            store.resolve("toy")
        store.publish("toy", folder, draft)
    assert store.versions("toy") == [1]


def test_other_users_may_read_what_was_published(publish: Publish, store: Store) -> None:
    publish()
    folder = store.open("toy").folder
    assert folder.stat().st_mode & 0o777 == 0o755


def test_leftovers_older_than_a_day_are_swept_and_younger_ones_stay(
    publish: Publish, store: Store
) -> None:
    publish()
    old, young = (store.root / "toy" / f".staging-{age}" for age in ("old", "young"))
    for folder, age_s in ((old, STALE_STAGING_S + 60), (young, STALE_STAGING_S - 60)):
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"half")
        os.utime(folder, (time.time() - age_s,) * 2)
    publish()
    assert not old.exists()
    assert young.exists()


def _left_behind(store: Store) -> list[str]:
    return [entry.name for entry in store.root.rglob(".staging-*")]


# --- removing ----------------------------------------------------------------------------------


def test_a_removed_number_is_never_given_out_again(publish: Publish, store: Store) -> None:
    publish()
    publish()
    assert store.remove("toy@2") == [2]
    assert publish().version == 3
    assert store.remove("toy") == [1, 3]
    assert store.names() == []
    assert publish().version == 4
    assert _left_behind(store) == []


def test_a_version_with_an_alias_stays_until_the_alias_goes(publish: Publish, store: Store) -> None:
    publish()
    store.set_alias("toy", "stable", 1)
    store.set_alias("toy", "blue", 1)
    with pytest.raises(VersionInUse, match="toy@1 is blue, stable"):
        store.remove("toy@1")
    store.open("toy@1").verify()
    store.drop_alias("toy", "stable")
    store.drop_alias("toy", "blue")
    assert store.remove("toy@1") == [1]


def test_removing_a_whole_model_takes_its_aliases_along(publish: Publish, store: Store) -> None:
    publish()
    store.set_alias("toy", "stable", 1)
    assert store.remove("toy") == [1]
    assert publish().version == 2
    assert store.aliases("toy") == {}
    assert store.resolve("toy") == ("toy", 2)


@pytest.mark.parametrize("ref", ["toy", "toy@1", "toy@stable"])
def test_removing_what_is_not_there_is_not_found(store: Store, ref: str) -> None:
    with pytest.raises(NotFound):
        store.remove(ref)


# --- aliases -----------------------------------------------------------------------------------


def test_an_alias_must_point_at_a_version_that_is_there(publish: Publish, store: Store) -> None:
    publish()
    with pytest.raises(NotFound, match="has no version 2"):
        store.set_alias("toy", "stable", 2)
    with pytest.raises(NotFound, match="no model 'other'"):
        store.set_alias("other", "stable", 1)
    assert store.aliases("toy") == {}
    assert not (store.root / "other").exists()


@pytest.mark.parametrize("alias", ["7", "007", "0", "1234567890", "", "a/b", "../x", "Stable"])
def test_an_alias_that_reads_as_a_version_or_a_path_is_refused(
    publish: Publish, store: Store, alias: str
) -> None:
    publish()
    with pytest.raises(BadName, match="alias"):
        store.set_alias("toy", alias, 1)


def test_dropping_an_alias_that_is_not_there_says_which_are(publish: Publish, store: Store) -> None:
    publish()
    store.set_alias("toy", "blue", 1)
    with pytest.raises(NotFound, match=r"toy has no alias 'green'; it has \['blue'\]"):
        store.drop_alias("toy", "green")
    with pytest.raises(NotFound, match="no model 'other'"):
        store.drop_alias("other", "green")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '{"stable": null}', '{"stable": "one"}', '{"stable": {}}']
)
def test_damaged_aliases_are_an_error_that_names_the_file(
    publish: Publish, store: Store, text: str
) -> None:
    publish()
    (store.root / "toy" / "aliases.json").write_text(text)
    with pytest.raises(StoreError, match=r"toy/aliases\.json is damaged"):
        store.resolve("toy")
    assert store.resolve("toy@1") == ("toy", 1)  # asks for no alias


def test_an_alias_whose_version_is_gone_is_not_found(publish: Publish, store: Store) -> None:
    publish()
    (store.root / "toy" / "aliases.json").write_text('{"stable": 9}')
    with pytest.raises(NotFound, match="toy@stable is version 9, which is gone"):
        store.resolve("toy")


@settings(max_examples=10)
@given(steps=st.lists(st.sampled_from(["publish", "remove", "alias"]), max_size=8))
def test_whatever_is_done_in_turn_numbers_only_rise_and_all_verifies(
    publish: Publish, store: Store, steps: list[str]
) -> None:
    newest = publish().version
    for step in steps:
        if step == "publish":
            newest += 1
            assert publish().version == newest
        elif step == "alias" and store.versions("toy"):
            store.set_alias("toy", "canary", store.versions("toy")[0])
        elif store.versions("toy"):
            try:
                store.remove(f"toy@{store.versions('toy')[-1]}")
            except VersionInUse:
                store.drop_alias("toy", "canary")
    for version in store.versions("toy"):
        Bundle.open(store.root / "toy" / str(version)).verify()
