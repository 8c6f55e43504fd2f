import numpy as np

from model_store.answers.forecast import ForecastAnswer


def test_values_and_bounds_are_steps_of_columns() -> None:
    spec = ForecastAnswer(
        columns=("load", "heat"), horizon=3, values="mid", lower="low", upper="up"
    )
    middle = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    tensors = {"mid": middle, "low": middle - 1, "up": middle + 1}
    assert spec.answer(tensors, {"steps": 9}, None) == {
        "values": [[0, 1], [2, 3], [4, 5]],
        "lower": [[-1, 0], [1, 2], [3, 4]],
        "upper": [[1, 2], [3, 4], [5, 6]],
    }
