"""Gated recurrent units with attention, from scratch, that translate from English into Spanish.

Measured on the 1,663 held-out verses, seed 0, one thread of a busy machine:

======================================================  =====  =====
..                                                      chrF   BLEU
======================================================  =====  =====
quick with ``--epochs 2``, four beams, ten minutes      39.8   18.6
the first of these two epochs, one beam                 30.9    9.4
word for word by IBM model 1                            39.8    9.4
the source as it is                                     16.4    0.05
======================================================  =====  =====

Neither the four epochs of quick nor the full profile were run yet.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from model_store.manifest import Family
from training.parts.decoder import Shape, check_heads
from training.parts.recurrent_encoder_decoder import (
    RecurrentEncoderDecoder,
    recurrent_encoder_decoder_exports,
)
from training.parts.saying_anew import NETWORK
from training.parts.translating import Translating, TranslatingConfig
from training.recipe import Config, Networks, Package


class RnnTranslatorConfig(TranslatingConfig):
    """Settings of the units and of the sentences."""

    heads: int = Field(default=4, ge=1, description="attention heads that look at the source")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self.width, self.heads)
        return self


class RnnTranslator(Translating[RnnTranslatorConfig]):
    """Learns what to say next from the source and from what it keeps of what it said."""

    family: ClassVar[Family] = "rnn"
    description = (
        "Translates English into Spanish, in the language of the Bible, by gated recurrent units"
        " with attention."
    )
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": RnnTranslatorConfig(
            epochs=4, batch_size=64, learning_rate=3e-3, width=256, layers=1, dropout=0.0
        ),
        "full": RnnTranslatorConfig(
            epochs=16, batch_size=64, learning_rate=3e-3, width=384, layers=2, dropout=0.2
        ),
    }
    smoke: ClassVar[Mapping[str, Any]] = {**Translating.smoke, "heads": 2}

    def build(self, fold: int) -> Networks:
        del fold
        settings, size = self.config, self.source_tokenizer.get_vocab_size()
        shape = Shape(
            settings.width, settings.layers, settings.heads, settings.context, settings.dropout
        )
        network = RecurrentEncoderDecoder(size, shape)
        network.begin_with(self.vectors())
        return {NETWORK: network}

    def package(self, networks: Networks, folder: Path) -> Package:
        graphs = recurrent_encoder_decoder_exports(
            networks[NETWORK],  # type: ignore[arg-type]
            self.sample,
            end=self.end,
            lengths=self.lengths,
        )
        return Package(graphs, {"generate": self.verb(folder)})
