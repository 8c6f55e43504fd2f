import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from model_store.answers.anomaly import AnomalyAnswer
from model_store.spec import Tensors

SPEC = AnomalyAnswer(features=("load", "heat", "flow"), threshold=0.5, false_alarm_rate=0.01)


def answer(score: float, parts: list[float]) -> dict[str, Any]:
    tensors = {
        "score": np.array([score], np.float32),
        "contributions": np.array([parts], np.float32),
    }
    return SPEC.answer(tensors, {}, None)


def test_contributions_are_listed_largest_first_by_name() -> None:
    assert answer(0.75, [0.25, 0.5, 0.0])["contributions"] == [
        {"feature": "heat", "contribution": 0.5},
        {"feature": "load", "contribution": 0.25},
        {"feature": "flow", "contribution": 0.0},
    ]


@pytest.mark.parametrize(("score", "anomalous"), [(0.25, False), (0.5, False), (0.75, True)])
def test_above_the_threshold_is_anomalous(score: float, anomalous: bool) -> None:
    got = answer(score, [0, 0, 0])
    assert (got["score"], got["threshold"], got["anomalous"]) == (score, 0.5, anomalous)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2])
def test_a_false_alarm_rate_is_a_share(rate: float) -> None:
    with pytest.raises(ValidationError, match="false_alarm_rate"):
        AnomalyAnswer(features=("a",), threshold=0, false_alarm_rate=rate)


def test_a_heat_map_is_a_grey_picture_and_only_there_where_the_spec_names_it() -> None:
    heat = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3) * 50
    tensors: Tensors = {"score": np.ones(1), "contributions": np.ones((1, 3)), "heat": heat}
    spec = SPEC.model_copy(update={"map": "heat"})
    png = base64.b64decode(spec.answer(tensors, {}, None)["map"]["b64"])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), heat[0, 0])
    assert "map" not in SPEC.answer(tensors, {}, None)
