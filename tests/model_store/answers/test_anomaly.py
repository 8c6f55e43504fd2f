from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from model_store.answers.anomaly import AnomalyAnswer

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
