"""The kinds of input a model can take, one file each."""

from typing import Annotated

from pydantic import Field

from model_store.inputs.audio import AudioInput
from model_store.inputs.image import ImageInput
from model_store.inputs.none import NoneInput
from model_store.inputs.series import SeriesInput
from model_store.inputs.table import TableInput
from model_store.inputs.tensor import TensorInput
from model_store.inputs.text import TextInput

InputSpec = Annotated[
    AudioInput | ImageInput | NoneInput | SeriesInput | TableInput | TensorInput | TextInput,
    Field(discriminator="kind"),
]
