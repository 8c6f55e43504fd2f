"""Anomaly: a score ``[1]`` and what each feature adds to it ``[1, F]`` → a verdict with reasons.

Of a picture also a heat map, uint8 ``[1, 1, H, W]``, black where nothing is unusual.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from model_store.png import png
from model_store.spec import AnswerKind, Array, Tensors


class AnomalyAnswer(AnswerKind):
    """Above ``threshold`` is anomalous; ``false_alarm_rate`` is what it was chosen for. ``map`` is
    the heat map's tensor, where there is one.
    """

    kind: Literal["anomaly"] = "anomaly"
    score: str = "score"
    contributions: str = "contributions"
    map: str | None = None
    features: tuple[str, ...] = Field(min_length=1)
    threshold: float
    false_alarm_rate: float = Field(gt=0, lt=1)

    @property
    def compressed(self) -> bool:
        return self.map is not None

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del context, parameters
        score = float(tensors[self.score][0])
        parts = tensors[self.contributions][0]
        order = np.argsort(-parts, kind="stable")
        heat = {"map": {"b64": png(tensors[self.map][0])}} if self.map else {}
        return {
            "score": score,
            "threshold": self.threshold,
            "anomalous": score > self.threshold,
            "contributions": [
                {"feature": self.features[place], "contribution": float(parts[place])}
                for place in order
            ],
            **heat,
        }

    @property
    def targets(self) -> tuple[str, ...]:
        return ("score",)

    def amounts(self, tensors: Tensors) -> Array:
        return tensors[self.score][:, None]
