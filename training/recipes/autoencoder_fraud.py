"""An autoencoder that knows a bank's normal card payments and finds those that do not fit.

Its own payments are generated: see ``training.data.card_payments``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from training.data import card_payments, labelled_rows
from training.data.labelled_rows import LabelledRows
from training.parts.autoencoders import BalancedDetector
from training.parts.normal_rows import NormalRows, NormalRowsConfig
from training.recipe import Config


class FraudConfig(NormalRowsConfig):
    """Settings of the ensemble and of its alarm, and where the labels are."""

    hidden: int = Field(default=128, ge=2, description="width of the widest layer")
    latent: int = Field(
        default=13, ge=1, description="width of the narrow middle, at most half of what is rebuilt"
    )
    label_column: str = Field(
        default=card_payments.LABEL,
        description="own data: column with 1 at anomalies and 0 elsewhere",
    )


class AutoencoderFraud(NormalRows[FraudConfig]):
    """Payment → is it as payments are, and if not, which columns say so."""

    description = (
        "Finds payments, or other rows of numbers and words, that do not look like the normal ones."
        " Its own payments are generated, none is real: scores on them say nothing of a bank's."
    )
    data_formats = labelled_rows.FORMAT
    detector = BalancedDetector
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": FraudConfig(epochs=12, batch_size=256, learning_rate=2e-3),
        "full": FraudConfig(epochs=30, batch_size=256, learning_rate=2e-3, members=8),
    }

    def read(self, data: Path | None) -> LabelledRows:
        if data:
            return labelled_rows.own(data, self.config.label_column)
        return card_payments.payments()
