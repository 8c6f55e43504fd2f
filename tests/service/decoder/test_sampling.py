"""What is drawn, against the exact probabilities; seeds are fixed."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from model_store.answers.text import Pieces, TextAnswer
from model_store.spec import Array
from service.decoder.sampling import choose, score
from service.decoder.sequence import Sampling, Sequence
from service.decoder.speech import Speech
from tests.service.decoder.bundles import LETTERS, SIZE, walker
from tests.service.workbench import NEVER

DRAWS = 20_000
LOGITS = np.random.default_rng(3).normal(size=SIZE).astype(np.float32) * 1.5


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    folder: Path = tmp_path_factory.mktemp("walker")
    walker(folder, "state")
    return TextAnswer().pieces(folder)()


def sequence(pieces: Pieces, sampling: Sampling, seed: int = 0) -> Sequence:
    return Sequence([3, 4], 9, sampling, NEVER, Speech(pieces), print, seed=seed)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    found: Array = powers / powers.sum()
    return found


def exact(rule: Sampling) -> Array:
    """The probabilities by the rules' own definitions, one token after the other."""
    chances = softmax(LOGITS / rule.temperature)
    order = np.argsort(-chances)
    kept = order[: rule.top_k or SIZE]
    chances = np.where(np.isin(np.arange(SIZE), kept), chances, 0)
    chances /= chances.sum()
    before = np.cumsum(chances[order]) - chances[order]
    chances[order[before >= rule.top_p]] = 0
    chances[chances < rule.min_p * chances.max()] = 0
    found: Array = chances / chances.sum()
    return found


@pytest.mark.parametrize(
    "rule",
    [
        Sampling(),
        Sampling(temperature=0.5),
        Sampling(temperature=3.0),
        Sampling(top_k=5),
        Sampling(top_p=0.7),
        Sampling(min_p=0.1),
        Sampling(temperature=1.7, top_k=12, top_p=0.8, min_p=0.15),
    ],
)
def test_tokens_are_drawn_as_often_as_their_probability_says(
    pieces: Pieces, rule: Sampling
) -> None:
    one, chances = sequence(pieces, rule), exact(rule)
    drawn = np.bincount(
        [int(choose(LOGITS[None].copy(), [one])[0]) for _ in range(DRAWS)], minlength=SIZE
    )
    assert not drawn[chances == 0].any()
    likely = chances * DRAWS >= 5
    rare = ~likely & (chances > 0)
    seen = [*drawn[likely], *([drawn[rare].sum()] if rare.any() else [])]
    wanted = [*chances[likely] * DRAWS, *([chances[rare].sum() * DRAWS] if rare.any() else [])]
    assert chisquare(seen, wanted).pvalue > 0.001


def test_top_k_of_one_and_a_temperature_of_next_to_nothing_take_the_likeliest(
    pieces: Pieces,
) -> None:
    rules = (
        Sampling(temperature=0), Sampling(top_k=1), Sampling(temperature=1e-50),
        Sampling(temperature=1e-38), Sampling(top_p=1e-9), Sampling(min_p=1.0),
    )  # fmt: skip
    for rule in rules:
        one = sequence(pieces, rule)
        assert {int(choose(LOGITS[None].copy(), [one])[0]) for _ in range(50)} == {LOGITS.argmax()}


def test_repetition_makes_what_was_read_or_said_less_likely(pieces: Pieces) -> None:
    one = sequence(pieces, Sampling(temperature=0, repetition_penalty=2.0))
    one.said = [7]
    logits = np.full((1, SIZE), -9, np.float32)
    logits[0, [3, 7, 8, 9]] = [4, 3.9, 2.1, -1]
    found = logits.copy()
    assert choose(found, [one]) == [8]  # 3 was read and 7 said: their 4 and 3.9 count half
    assert found[0, [3, 4, 7, 8]].tolist() == pytest.approx([2, -18, 1.95, 2.1])


def test_choice_depends_on_no_other_row(pieces: Pieces) -> None:
    rules = [Sampling(), Sampling(temperature=0), Sampling(top_k=3), Sampling(top_p=0.5),
             Sampling(repetition_penalty=1.5)] * 3  # fmt: skip
    logits = np.random.default_rng(1).normal(size=(len(rules), SIZE)).astype(np.float32)
    together = choose(logits.copy(), [sequence(pieces, r, s) for s, r in enumerate(rules)])
    alone = [
        int(choose(logits[s : s + 1].copy(), [sequence(pieces, r, s)])[0])
        for s, r in enumerate(rules)
    ]
    assert together.tolist() == alone


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_row_with_a_number_that_is_none_gives_that_number_away(pieces: Pieces, bad: float) -> None:
    logits = np.stack([LOGITS, LOGITS])
    logits[1, 5] = bad
    chosen = choose(logits, [sequence(pieces, Sampling(), seed) for seed in range(2)])
    assert np.isfinite(logits[0, chosen[0]])
    assert not np.isfinite(logits[1, chosen[1]])


@pytest.mark.parametrize("wanted", [0, 1, 5, SIZE, SIZE + 9])
def test_scores_are_the_log_softmax_with_the_likeliest_beside(pieces: Pieces, wanted: int) -> None:
    one = sequence(pieces, Sampling(logprobs=wanted))
    logs = np.log(softmax(LOGITS))
    found = score(LOGITS, 6, one)
    assert found.text == LETTERS[6]
    assert found.logprob == pytest.approx(logs[6])
    order = np.argsort(-logs)[:wanted]
    assert [text for text, _ in found.top] == [LETTERS[token] for token in order]
    assert [value for _, value in found.top] == pytest.approx(logs[order])
