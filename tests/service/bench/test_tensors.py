from typing import Any

import numpy as np
import pytest

from service.bench.errors import BenchError
from service.bench.tensors import DTYPES, Inputs, draw, settle


def metadata(*shape: int, datatype: str = "FP32", name: str = "x") -> dict[str, Any]:
    return {
        "name": "model",
        "inputs": [{"name": name, "datatype": datatype, "shape": list(shape)}],
    }


def shape(inputs: Inputs) -> tuple[int, ...]:
    return inputs.inputs[0].shape


def test_the_first_axis_takes_the_rows() -> None:
    inputs = settle(metadata(-1, 3, 4), 5, {})
    assert shape(inputs) == (5, 3, 4)
    assert (inputs.rows, inputs.batches) == (5, True)


def test_other_variable_axes_are_settled_by_the_caller() -> None:
    with pytest.raises(BenchError, match=r"input x has variable axes; --shape x:N,4 settles them"):
        settle(metadata(-1, -1, 4), 1, {})
    assert shape(settle(metadata(-1, -1, 4), 2, {"x": (7, 4)})) == (2, 7, 4)


@pytest.mark.parametrize("given", [(7,), (7, 5), (7, 4, 1)])
def test_a_shape_that_does_not_fit_the_model_is_refused(given: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match=r"axes \[-1, 4\] after the row; --shape gives"):
        settle(metadata(-1, -1, 4), 1, {"x": given})


def test_a_model_without_a_row_axis_takes_requests_as_they_are() -> None:
    inputs = settle(metadata(2, 3), 1, {})
    assert (shape(inputs), inputs.rows, inputs.batches) == ((2, 3), 1, False)
    assert shape(settle(metadata(), 1, {})) == ()
    with pytest.raises(BenchError, match="no row axis; --rows 4"):
        settle(metadata(2, 3), 4, {})


def test_what_is_no_number_cannot_be_made() -> None:
    with pytest.raises(BenchError, match="input x is BYTES; expected numbers"):
        settle(metadata(-1, 1, datatype="BYTES"), 1, {})


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_is_drawn_in_its_own_type(datatype: str) -> None:
    inputs = settle(metadata(-1, 50, datatype=datatype), 2, {})
    for tensors in draw(inputs, 3, seed=0, integers_below=9):
        assert tensors["x"].dtype == DTYPES[datatype]
        assert tensors["x"].shape == (2, 50)


def test_bodies_differ_from_each_other_and_not_from_run_to_run() -> None:
    inputs = settle(metadata(-1, 6), 1, {})
    drawn = [body["x"] for body in draw(inputs, 8, seed=3, integers_below=9)]
    again = [body["x"] for body in draw(inputs, 8, seed=3, integers_below=9)]
    assert all((a == b).all() for a, b in zip(drawn, again, strict=True))
    assert len({body.tobytes() for body in drawn}) == 8


def test_integers_stay_below_what_was_asked_and_pixels_do_not_care() -> None:
    for datatype, most in (("INT64", 4), ("UINT8", 255)):
        inputs = settle(metadata(-1, 5000, datatype=datatype), 1, {})
        values = np.concatenate([body["x"] for body in draw(inputs, 8, 0, integers_below=5)])
        assert (values.min(), values.max()) == (0, most)
