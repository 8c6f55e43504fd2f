"""The speller, and what recipes that say anew share, on a small language of its own."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.conftest import Silent
from training.data.pairs import Pair
from training.export import export
from training.fit import fit
from training.parts.saying_anew import NETWORK, samples_table
from training.recipes.transformer_speller import SpellerConfig, TransformerSpeller, errors
from training.verify import verify

SMALL = {"epochs": 1, "learning_rate": 3e-3, "width": 32, "heads": 2, "layers": 1, "dropout": 0.0}
CONSONANTS, VOWELS = "bdgklmnprst", "aeiou"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of two or three syllables, said letter by letter but for a silent ``x``."""
    path = tmp_path_factory.mktemp("words") / "words.csv"
    syllables = [one + other for one in CONSONANTS for other in VOWELS]
    generator = torch.Generator().manual_seed(0)
    rows = ["word,pronunciation"]
    for place in range(900):
        picked = torch.randint(len(syllables), (2 + place % 2,), generator=generator).tolist()
        word = "".join(syllables[n] for n in picked)
        rows.append(f"{word}{'x' if place % 3 else ''},{' '.join(word.upper())}")
    path.write_text("\n".join(rows) + "\n")
    return path


def speller(words: Path, **settings: object) -> TransformerSpeller:
    recipe = TransformerSpeller(SpellerConfig.model_validate({**SMALL, **settings}))
    recipe.load(words)
    return recipe


def test_it_learns_a_language_and_the_table_does_too(words: Path) -> None:
    recipe = speller(words, epochs=25, batch_size=64, average=0.9)
    fitted = fit(recipe, 0, device="cpu", progress=Silent())
    scores = recipe.evaluate([fitted.networks])
    assert scores.metrics["phoneme_error"] < 0.1
    assert scores.baselines["table_of_letter_windows"]["phoneme_error"] < 0.02
    assert "| word | dictionary | this model |" in scores.samples


def test_padding_changes_no_score_and_is_not_learned(words: Path) -> None:
    recipe = speller(words)
    network = recipe.build(0)[NETWORK].eval()
    short = min(recipe.lesson, key=lambda pair: len(pair[1]))
    long = max(recipe.lesson, key=lambda pair: len(pair[1]))
    alone, together = recipe._batch([short]), recipe._batch([short, long])
    told = alone[3].shape[1]
    with torch.no_grad():
        one, both = recipe._scores(network, alone), recipe._scores(network, together)
        torch.testing.assert_close(both[:1, :told], one)
        losses = [recipe._loss(recipe._scores(network, b), b, 0.0) for b in (alone, together)]
        other = recipe._loss(
            recipe._scores(network, recipe._batch([long])), recipe._batch([long]), 0.0
        )
    weights = [len(short[1]) + 1, len(long[1]) + 1]
    mean = (losses[0] * weights[0] + other * weights[1]) / sum(weights)
    assert float(losses[1]) == pytest.approx(float(mean), abs=1e-4)


def test_answers_are_those_of_their_own_source_whatever_the_order(words: Path) -> None:
    recipe = speller(words, epochs=4, batch_size=64)
    network = fit(recipe, 0, device="cpu", progress=Silent()).networks[NETWORK]
    sources = [pair.source for pair in recipe.parts.test[:20]]
    together = recipe.say(network, sources, 1)
    assert recipe.say(network, sources[::-1], 1) == together[::-1]
    assert [recipe.say(network, [source], 1)[0] for source in sources] == together


def test_letters_nobody_knows_are_read_as_one_unknown_letter(words: Path) -> None:
    recipe = speller(words)
    ids = [recipe.source_tokenizer.encode(text).ids for text in ("ñß", "BA", "ba")]
    assert ids[0][0] == ids[0][1] == 1
    assert ids[1] == ids[2]


def test_the_nearest_pronunciation_counts() -> None:
    test = [Pair("a", ("A B C", "A X")), Pair("b", ("B",))]
    assert errors(test, ["A X", "B"]) == {"phoneme_error": 0.0, "word_error": 0.0}
    assert errors(test, ["A Y", "B C"]) == {"phoneme_error": 2 / 3, "word_error": 1.0}


def test_what_was_said_is_shown_beside_what_is_right() -> None:
    table = samples_table([Pair("a|b", ("x", "y"))], ["z\n"], {"s": "in", "t": "right", "o": "out"})
    assert table.splitlines()[2] == "| a\\|b | x / y | z |"


def test_words_as_long_as_allowed_and_answers_of_two_sounds_are_proved(
    words: Path, tmp_path: Path
) -> None:
    recipe = speller(words, max_source=7, context=8)
    recipe.checks = recipe.lesson = [([2 + place % 5] * 7, [2, 3]) for place in range(80)]
    package = recipe.package({NETWORK: recipe.build(0)[NETWORK].eval()}, tmp_path)
    graphs = {name: export(name, graph, tmp_path) for name, graph in package.graphs.items()}
    verify(package, graphs, tmp_path)
    assert graphs["encoder"].batching.pad == {"time": (7,)}


def test_heads_that_do_not_fit_the_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="a width of 4 heads times a multiple of 16; got 32"):
        SpellerConfig.model_validate({**SMALL, "heads": 4})
