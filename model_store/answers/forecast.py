"""Forecast: values and interval bounds ``[1, horizon, columns]`` → lists of the coming steps."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from model_store.spec import AnswerKind, Array, Tensors


class ForecastAnswer(AnswerKind):
    """The coming ``horizon`` steps; between lower and upper with probability ``coverage``."""

    kind: Literal["forecast"] = "forecast"
    values: str = "values"
    lower: str = "lower"
    upper: str = "upper"
    columns: tuple[str, ...] = Field(min_length=1)
    horizon: int = Field(gt=0)
    coverage: float = Field(default=0.8, gt=0, lt=1)

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del context, parameters
        names = {"values": self.values, "lower": self.lower, "upper": self.upper}
        return {key: tensors[name][0].tolist() for key, name in names.items()}

    @property
    def targets(self) -> tuple[str, ...]:
        return self.columns

    def amounts(self, tensors: Tensors) -> Array:
        """Of each column, the mean of the coming steps."""
        mean: Array = tensors[self.values].mean(axis=1)
        return mean
