"""Boxes: what was found in a picture ``[1, N, 4]``, as shares of what the graph saw, with scores
and labels ``[1, N]`` → labelled boxes in pixels of the picture that was sent.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from model_store.spec import AnswerKind, Parameters, Tensors


class BoxesParameters(Parameters):
    """``min_score``: how sure a box must be; left out, as sure as its maker thought best.
    ``max_boxes``: how many to list, the surest.
    """

    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    max_boxes: Annotated[int, Field(ge=1, le=1000)] = 100


class BoxesAnswer(AnswerKind):
    """Boxes with the surest first. A row of the tensors has a fixed number of places; one with a
    score of 0 is empty. ``min_score`` is for callers who do not say.
    """

    parameters: ClassVar[type[Parameters]] = BoxesParameters

    kind: Literal["boxes"] = "boxes"
    boxes: str = "boxes"
    scores: str = "scores"
    classes: str = "classes"
    labels: tuple[str, ...] = Field(min_length=1)
    min_score: float = Field(default=0.5, ge=0, le=1)

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: BoxesParameters
    ) -> dict[str, Any]:
        """``context`` has the ``width`` and ``height`` of the picture, and what share of the
        graph's square it ``filled``, to the right and down. Without them boxes stay shares.
        """
        scores, classes = tensors[self.scores][0], tensors[self.classes][0]
        least = self.min_score if parameters.min_score is None else parameters.min_score
        order = np.argsort(-scores, kind="stable")
        order = order[(scores[order] >= least) & (scores[order] > 0)][: parameters.max_boxes]
        size = np.array([context.get("width", 1), context.get("height", 1)], np.float64)
        shares = tensors[self.boxes][0].reshape(-1, 2, 2) / np.array(context.get("filled", (1, 1)))
        boxes = shares.clip(0, 1) * size  # a box never leaves the picture
        return {
            "boxes": [
                {
                    "label": self.labels[classes[place]],
                    "score": float(scores[place]),
                    "box": boxes[place].ravel().tolist(),
                }
                for place in order
            ]
        }
