"""Whatever the bytes of a graph's file, they are read or refused, soon and in little memory."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from model_store import protobuf
from model_store.errors import CorruptBundle
from model_store.onnx_file import Value, read_signature
from tests.model_store.graphs import IDENTITY, PLACES, X, echo, model_of, stored

Save = Callable[[onnx.ModelProto | bytes], Path]


# --- what is no graph --------------------------------------------------------------------------

GRAPH = b"\x3a\x00"
OPSET = b"\x42\x02\x10\x12"


def _deep(levels: int) -> bytes:
    """Graphs in attributes of nodes of graphs; a length has five bytes here, whatever it is."""

    def part(tag: int, content: bytes) -> bytes:
        size = len(content)
        return bytes([tag, *(size >> 7 * n & 127 | 128 for n in range(4)), size >> 28]) + content

    graph = b""
    for _ in range(levels):
        graph = part(0x0A, part(0x2A, part(0x32, graph)))
    return part(0x3A, graph) + OPSET


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer, not "
         "the model: run git lfs pull"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "is cut off or not ONNX"),
        (b"PK\x03\x04" + bytes(20), "is cut off or not ONNX"),
        (b"<!DOCTYPE html>\n<html>not found</html>", "is cut off or not ONNX"),
        (OPSET, "there is no graph"),
        (b"\x3a" + OPSET, "is cut off or not ONNX"),
        (GRAPH, "it names no operator set"),
        (b"\x38\x00" + OPSET, "there is no graph"),  # field 7, but a number
        (GRAPH + b"\x42", "no number at byte"),
        (GRAPH + b"\x42" + b"\xff" * 30, "no number at byte"),
        (GRAPH + b"\x42" + b"\xff" * 8 + b"\x7f", "a field that ends at byte"),
        (b"\x3a\xff\xff\xff\xff\x0f", "a field that ends at byte"),
        (b"\x3a\x02\x0a\x7f" + OPSET, "a field that ends at byte"),
        (b"\x3a\x01\x0a\x00" + OPSET, "a field that ends at byte"),
        (b"\x0b" + GRAPH + OPSET, "no field before byte"),
        (GRAPH + OPSET + b"\x09\x00", "a field that ends at byte"),
        (GRAPH + b"\x42\x03\x0a\x01\xff", "a name that is not UTF-8"),
        (_deep(40), "messages nest deeper than 100"),
        (b"\x3a\x04\x5a\x02\x12\x00" + OPSET, "has no name of its own"),
    ],
)  # fmt: skip
def test_what_is_no_graph_is_refused_with_the_reason(
    save: Save, content: bytes, words: str
) -> None:
    with pytest.raises(CorruptBundle, match=rf"^model\.onnx .*{words}"):
        read_signature(save(content))


def test_graphs_may_nest_as_deep_as_protobuf_allows(save: Save) -> None:
    read_signature(save(_deep(32)))


def test_two_inputs_of_one_name_are_refused(save: Save) -> None:
    with pytest.raises(CorruptBundle, match="has no name of its own"):
        read_signature(save(model_of([IDENTITY], (X, X))))


def test_a_name_as_long_as_a_book_is_refused_unread(save: Save) -> None:
    with pytest.raises(CorruptBundle, match="a name of 100,000 bytes"):
        read_signature(save(model_of([helper.make_node("x" * 100_000, ["x"], ["y"])])))


def test_more_axes_than_any_array_has_are_refused(save: Save) -> None:
    with pytest.raises(CorruptBundle, match="a tensor of 65 axes"):
        read_signature(save(echo({"x": ("FLOAT", [1] * 65)})))


def test_a_file_of_endless_small_fields_is_left(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 1_000)
    path = save(GRAPH + OPSET + b"\x08\x01" * 900)
    read_signature(path)
    path.write_bytes(GRAPH + OPSET + b"\x08\x01" * 1_100)
    with pytest.raises(CorruptBundle, match="more than 1,000 fields"):
        read_signature(path)


def test_what_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name in ("pipe.onnx", "folder.onnx", "nowhere.onnx"):
        with pytest.raises(CorruptBundle, match=f"{name} cannot be read"):
            read_signature(tmp_path / name)


def test_a_file_that_the_system_refuses_is_refused_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(CorruptBundle, match="cannot be read: File name too long"):
        read_signature(tmp_path / ("x" * 300))


# --- size and damage ---------------------------------------------------------------------------


def test_two_gigabytes_of_weights_are_not_read(save: Save) -> None:
    size = 2_000_000_000
    path = save(b"")
    tail = b"\x62" + bytes([len(X.SerializeToString())])
    varint = bytes([size >> 7 * n & 127 | 128 for n in range(4)] + [size >> 28])
    tensor = b"\x42\x01w\x4a" + varint
    total = size + len(tensor)
    prefix = b"\x2a" + bytes([total >> 7 * n & 127 | 128 for n in range(4)] + [total >> 28])
    graph = len(prefix) + total + len(tail) + len(X.SerializeToString())
    with path.open("wb") as file:
        file.write(OPSET + b"\x3a" + bytes([graph >> 7 * n & 127 | 128 for n in range(4)]))
        file.write(bytes([graph >> 28]) + prefix + tensor)
        file.seek(size, os.SEEK_CUR)  # a hole: no disk is used
        file.write(tail + X.SerializeToString())
    tracemalloc.start()
    try:
        signature = read_signature(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert signature.outputs == (Value("x", "float32", ("N", 2)),)
    assert peak < 1_000_000


def test_a_graph_cut_off_anywhere_is_read_or_refused(save: Save) -> None:
    whole = model_of([IDENTITY], initializer=[numpy_helper.from_array(np.zeros(9), "w")])
    text = whole.SerializeToString()
    refused = 0
    for size in range(len(text)):
        try:
            read_signature(save(text[:size]))
        except CorruptBundle:
            refused += 1
    assert refused > len(text) * 0.9


def _read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read_signature(path)
    except CorruptBundle as error:
        if not 0 < len(str(error)) < 1_000:
            raise AssertionError(f"a message of {len(str(error))} characters") from error


@given(content=st.binary(max_size=400))
def test_whatever_bytes_come_they_are_read_or_refused(content: bytes, tmp_path: Path) -> None:
    _read_or_refuse(tmp_path / "model.onnx", content)


@given(data=st.data())
def test_a_graph_with_anything_in_it_is_read_or_refused(
    data: st.DataObject, tmp_path: Path
) -> None:
    """As above, but nearer to what is taken: some bytes of a real graph are replaced."""
    place = data.draw(st.sampled_from(sorted(PLACES)))
    model = PLACES[place](stored("weights.bin"))
    text = bytearray(model if isinstance(model, bytes) else model.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = start + data.draw(st.integers(0, 4))
        text[start:stop] = data.draw(st.binary(max_size=6))
    _read_or_refuse(tmp_path / "model.onnx", bytes(text))
