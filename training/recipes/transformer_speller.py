"""A Transformer from scratch that says how a word is spoken, letter by letter read and sound by
sound written.

What was tried, seed 0, one beam, in % of sounds and of words wrong on the held-out words:

==========================================  ====  =====
dropout 0.1, four epochs                    9.63  37.22
no dropout, five epochs: this one (quick)   7.49  30.24
table of letter windows                     8.96  39.66
==========================================  ====  =====

On the 2,000 words that stop it, four beams instead of one take quick from 7.37 and 29.3 to 7.07 and
28.9. The full profile was not run yet.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from model_store.manifest import Family
from training.data import pronunciations
from training.data.pairs import Pair
from training.parts.encoder_decoder import EncoderDecoder, encoder_decoder_exports
from training.parts.letter_windows import LetterWindows, distance
from training.parts.saying_anew import NETWORK, SayingAnew, SayingConfig, samples_table
from training.parts.tokens import END, UNKNOWN
from training.recipe import Config, Evaluation, Networks, Package

LETTERS, SOUNDS = "letters.json", "sounds.json"
SHOWN = 16


class SpellerConfig(SayingConfig):
    """Settings of the Transformer and of a user's own CSV."""

    word_column: str = Field(default="word", description="own data: column of the words")
    pronunciation_column: str = Field(
        default="pronunciation", description="own data: column of the sounds, apart by blanks"
    )


class TransformerSpeller(SayingAnew[SpellerConfig]):
    """Learns the sounds of a word from its letters."""

    family: ClassVar[Family] = "transformer"
    task = "pronunciation"
    padded = (8, 16, 32)
    lower_is_better = True
    description = "Says how an English word is spoken, in the sounds of the CMU dictionary."
    data_formats = (
        "a CSV with a column of words and a column of their sounds, apart by blanks; a word may"
        " have several rows"
    )
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": SpellerConfig(epochs=5, batch_size=256, learning_rate=3e-3, dropout=0.0),
        "full": SpellerConfig(
            epochs=24, batch_size=256, learning_rate=3e-3, width=256, layers=3, beams=4
        ),
    }
    smoke: ClassVar[Mapping[str, Any]] = {
        "epochs": 1, "pairs": 600, "width": 32, "heads": 2, "layers": 1
    }  # fmt: skip

    def load(self, data: Path | None) -> None:
        settings = self.config
        if data is None:
            self.data_source, self.data_license = pronunciations.SOURCE, pronunciations.LICENSE
            self.take(pronunciations.dictionary())
        else:
            self.data_source, self.data_license = str(data), "the user's own"
            columns = settings.word_column, settings.pronunciation_column
            self.take(pronunciations.own(data, *columns))

    def learn_tokenizers(self, train: Sequence[Pair]) -> None:
        self.source_tokenizer = known_words(sorted(set("".join(p.source.lower() for p in train))))
        self.source_tokenizer.normalizer = normalizers.Lowercase()
        self.source_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        sounds = sorted({sound for pair in train for way in pair.targets for sound in way.split()})
        self.target_tokenizer = known_words(sounds)
        self.target_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    def build(self, fold: int) -> Networks:
        del fold
        letters, sounds = (
            tokenizer.get_vocab_size()
            for tokenizer in (self.source_tokenizer, self.target_tokenizer)
        )
        return {NETWORK: EncoderDecoder(letters, sounds, self.config.shape)}

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        test = self.parts.test
        said = self.say(fitted[-1][NETWORK], [pair.source for pair in test], self.config.beams)
        known = [*self.parts.train, *self.parts.validation]
        ways = [pair.targets[0].split() for pair in known]
        table = LetterWindows([pair.source for pair in known], ways)
        plain = [" ".join(table.say(pair.source)) for pair in test]
        description = (
            f"{len(test):,} words held out at random, so 'walk' may be here and 'walks' there, as"
            f" in published figures; learned from {len(self.parts.train):,}, stopped by"
            f" {len(self.parts.validation):,}. Of a word's pronunciations the nearest counts."
            f" {self.config.beams} beams. The baseline gives each letter the sounds it most often"
            " has between the same neighbours, up to four on each side."
        )
        header = {"word": "word", "right": "dictionary", "said": "this model"}
        return Evaluation(
            errors(test, said),
            {"table_of_letter_windows": errors(test, plain)},
            description,
            samples=samples_table(test[:SHOWN], said[:SHOWN], header),
        )

    def package(self, networks: Networks, folder: Path) -> Package:
        self.source_tokenizer.save(str(folder / LETTERS))
        self.target_tokenizer.save(str(folder / SOUNDS))
        verb = self.generate(LETTERS, SOUNDS, self.parts.test[0].source)
        graphs = encoder_decoder_exports(
            networks[NETWORK],  # type: ignore[arg-type]
            self.sample,
            end=self.end,
            lengths=self.lengths,
        )
        return Package(graphs, {"generate": verb})


def known_words(words: Sequence[str]) -> Any:
    """A tokenizer of exactly these; decoded, they are apart by blanks."""
    places = {word: place for place, word in enumerate([END, UNKNOWN, *words])}
    tokenizer = Tokenizer(models.WordLevel(places, unk_token=UNKNOWN))
    tokenizer.add_special_tokens([END, UNKNOWN])
    return tokenizer


def errors(test: Sequence[Pair], said: Sequence[str]) -> dict[str, float]:
    """Shares of sounds and of words that are wrong, each beside its nearest pronunciation."""
    wrong, sounds, words = 0, 0, 0
    for pair, answer in zip(test, said, strict=True):
        apart = [(distance(answer.split(), way.split()), len(way.split())) for way in pair.targets]
        least, length = min(apart)
        wrong, sounds, words = wrong + least, sounds + length, words + (least > 0)
    return {"phoneme_error": wrong / sounds, "word_error": words / len(test)}
