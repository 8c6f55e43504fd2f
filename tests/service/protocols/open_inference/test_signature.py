"""What a graph takes: names, types and shapes, and the words for what it does not."""

import pytest

from model_store.manifest import Batching, Graph, Tensor
from service.errors import BadBody
from service.protocols.open_inference.signature import MAX_AXIS, Signature, Slot


def signature(*axes: int | str, dtype: str = "float32", **batching: object) -> Signature:
    """Of a graph that gives its input ``x`` back as ``y``."""
    sides = [Tensor(name=name, dtype=dtype, shape=axes) for name in "xy"]
    return Signature(
        Graph(file="model.onnx", inputs=(sides[0],), outputs=(sides[1],),
              batching=Batching.model_validate(batching))
    )  # fmt: skip


def slot(*axes: int | str, **more: object) -> Slot:
    return signature(*axes, **more).inputs["x"]  # type: ignore[arg-type]


def test_dynamic_axes_are_written_as_minus_one() -> None:
    assert slot("N", 3, "L").shape == [-1, 3, -1]
    assert slot(rows=False).shape == []


@pytest.mark.parametrize(
    ("dtype", "datatype", "item_bytes"),
    [("bool", "BOOL", 1), ("bfloat16", "BF16", 2), ("uint64", "UINT64", 8), ("string", "BYTES", 0)],
)
def test_a_tensor_has_the_protocols_type_and_size(
    dtype: str, datatype: str, item_bytes: int
) -> None:
    found = slot("N", dtype=dtype)
    assert (found.datatype, found.item_bytes) == (datatype, item_bytes)


@pytest.mark.parametrize("shape", [[1, 3, 1], [64, 3, 0], [7, 3, MAX_AXIS]])
def test_a_shape_that_fits_is_taken(shape: list[int]) -> None:
    assert slot("N", 3, "L").check("FP32", shape) == tuple(shape)


@pytest.mark.parametrize(
    "shape", [[1, 3], [1, 3, 1, 1], [1, 4, 1], [], [3], [1] * 100_000], ids=lambda s: str(s)[:20]
)
def test_a_shape_that_does_not_fit_is_refused_in_few_words(shape: list[int]) -> None:
    with pytest.raises(BadBody, match=r"input x: expected shape \[-1, 3, -1\]; got \[") as caught:
        slot("N", 3, "L").check("FP32", shape)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "shape",
    [
        [-1, 3, 1], [1, 3, -(2**63)], [1, 3, 2**31], [1, 3, 2**64], [1, 3, 10**400], [1.0, 3, 1],
        [True, 3, 1], ["1", 3, 1], [None, 3, 1], [[1], 3, 1], "131", 3, 1.5, None, True, {"a": 1},
        [float("nan"), 3, 1],
    ],
    ids=lambda s: str(s)[:20],
)  # fmt: skip
def test_what_is_no_list_of_lengths_is_no_shape(shape: object) -> None:
    with pytest.raises(BadBody, match="input x: shape: expected whole numbers from 0") as caught:
        slot("N", 3, "L").check("FP32", shape)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("datatype", ["FP64", "fp32", "FLOAT", "", None, 1, ["FP32"]], ids=repr)
def test_another_datatype_is_refused_and_named(datatype: object) -> None:
    with pytest.raises(BadBody, match="input x: expected datatype FP32; got "):
        slot("N", 3).check(datatype, [1, 3])


def test_a_padded_axis_is_no_longer_than_its_last_step() -> None:
    found = slot("N", "T", pad={"T": (4, 8)})
    assert found.check("FP32", [1, 8]) == (1, 8)
    with pytest.raises(BadBody, match=r"expected shape \[-1, at most 8\]; got \[1, 9\]"):
        found.check("FP32", [1, 9])


def test_rows_are_alike_in_all_inputs_and_no_more_than_allowed() -> None:
    found = signature("N", 3)
    found.check_rows([(1, 3), (1, 3)], 5)
    found.check_rows([(5, 3)], 5)
    with pytest.raises(BadBody, match=r"the first axis alike in all inputs; got \[1, 2\]"):
        found.check_rows([(1, 3), (2, 3)], 5)
    for rows in (0, 6):
        with pytest.raises(BadBody, match=f"expected 1 to 5 rows; got {rows}"):
            found.check_rows([(rows, 3)], 5)


def test_without_a_row_axis_there_are_no_rows_to_count() -> None:
    signature(2, "L", rows=False).check_rows([(2, 0), ()], 1)
