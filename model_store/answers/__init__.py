"""The kinds of answer a model can give, one file each."""

from typing import Annotated

from pydantic import Field

from model_store.answers.action import ActionAnswer
from model_store.answers.anomaly import AnomalyAnswer
from model_store.answers.boxes import BoxesAnswer
from model_store.answers.classes import ClassesAnswer
from model_store.answers.forecast import ForecastAnswer
from model_store.answers.image import ImageAnswer
from model_store.answers.mask import MaskAnswer
from model_store.answers.tensor import TensorAnswer
from model_store.answers.text import TextAnswer
from model_store.answers.transcript import TranscriptAnswer
from model_store.answers.values import ValuesAnswer
from model_store.answers.vector import VectorAnswer

AnswerSpec = Annotated[
    ActionAnswer
    | AnomalyAnswer
    | BoxesAnswer
    | ClassesAnswer
    | ForecastAnswer
    | ImageAnswer
    | MaskAnswer
    | TensorAnswer
    | TextAnswer
    | TranscriptAnswer
    | ValuesAnswer
    | VectorAnswer,
    Field(discriminator="kind"),
]
