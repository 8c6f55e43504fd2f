"""Gated recurrent units with attention, from scratch, that translate from English into Spanish.

Measured on the 1,663 held-out verses, seed 0, one thread of a busy machine:

======================================================  =====  =====
..                                                      chrF   BLEU
======================================================  =====  =====
quick: four epochs, four beams, 20 minutes of CPU       43.4   21.4
quick with ``--epochs 2``, four beams, ten minutes      39.8   18.6
the first of these two epochs, one beam                 30.9    9.4
word for word by IBM model 1                            39.8    9.4
the source as it is                                     16.4    0.05
======================================================  =====  =====

By chrF two epochs are as good as word for word, and four are better. The full profile was not run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from model_store.manifest import Family
from training.parts.recurrent_encoder_decoder import (
    RecurrentEncoderDecoder,
    recurrent_encoder_decoder_exports,
)
from training.parts.saying_anew import NETWORK
from training.parts.translating import Translating, TranslatingConfig
from training.recipe import Config, Networks, Package


class RnnTranslator(Translating[TranslatingConfig]):
    """Learns what to say next from the source and from what it keeps of what it said."""

    family: ClassVar[Family] = "rnn"
    description = (
        "Translates English into Spanish, in the language of the Bible, by gated recurrent units"
        " with attention."
    )
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": TranslatingConfig(
            epochs=4, batch_size=64, learning_rate=3e-3, width=256, layers=1, dropout=0.0
        ),
        "full": TranslatingConfig(
            epochs=16, batch_size=64, learning_rate=3e-3, width=384, layers=2, dropout=0.2
        ),
    }

    def build(self, fold: int) -> Networks:
        del fold
        size = self.source_tokenizer.get_vocab_size()
        network = RecurrentEncoderDecoder(size, self.config.shape)
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
