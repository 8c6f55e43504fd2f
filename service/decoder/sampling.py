"""The next token of many sequences at once. A row's choice depends on its own logits, parameters
and random numbers only.
"""

from collections.abc import Sequence as Many

import numpy as np

from model_store.spec import Array
from service.decoder.beams import log_softmax
from service.decoder.sequence import Sampling, Sequence, TokenScore

SHORT_LIST = 256
"""``top_p`` is looked for among so many likely tokens first: sorting all of them costs far more."""


def choose(logits: Array, sequences: Many[Sequence]) -> Array:
    """float32 ``[B, V]``, one row a sequence → int64 ``[B]``. Rows are changed in place. Of a row
    that has NaN, or no finite number at the top, a token whose number is not finite is given.
    """
    for row, sequence in enumerate(sequences):
        if sequence.sampling.repetition_penalty != 1:
            _penalise(logits[row], sequence)
    chosen: Array = logits.argmax(axis=1)
    sound = np.isfinite(logits[np.arange(len(chosen)), chosen])  # to argmax, NaN is the largest
    drawing = [
        row for row, sequence in enumerate(sequences)
        if sound[row] and not sequence.sampling.greedy
    ]  # fmt: skip
    if drawing:
        some = logits if len(drawing) == len(sequences) else logits[drawing]
        chosen[drawing] = _draw(some, [sequences[row] for row in drawing])
    return chosen


def score(logits: Array, token: int, sequence: Sequence) -> TokenScore:
    """Of one row float32 ``[V]``: the model's own probabilities, whatever was then drawn from."""
    logs = log_softmax(logits)
    wanted = min(sequence.sampling.logprobs or 0, len(logs))
    top = np.argpartition(-logs, wanted - 1)[:wanted] if wanted else np.empty(0, np.int64)
    top = top[np.argsort(-logs[top], kind="stable")]
    show = sequence.speech.show
    return TokenScore(
        show(token), float(logs[token]), tuple((show(int(t)), float(logs[t])) for t in top),
        sequence.speech.heard,
    )  # fmt: skip


def _penalise(logits: Array, sequence: Sequence) -> None:
    seen = np.unique(np.array(sequence.prompt + sequence.said, np.int64))
    penalty, values = np.float32(sequence.sampling.repetition_penalty), logits[seen]
    logits[seen] = np.where(values > 0, values / penalty, values * penalty)


def _draw(logits: Array, sequences: Many[Sequence]) -> Array:
    """By the inverse of the cumulative distribution, in float64."""
    rules = [sequence.sampling for sequence in sequences]
    heat = np.array([rule.temperature for rule in rules], np.float32)
    warm = (logits - logits.max(axis=1, keepdims=True)) / heat[:, None]
    for row, rule in enumerate(rules):
        _keep_likely(warm[row], rule)
    sums = np.exp(warm, dtype=np.float64).cumsum(axis=1)
    points = np.array([sequence.rng.random() for sequence in sequences]) * sums[:, -1]
    # The first place whose sum exceeds the point; a token of no probability never does.
    places = [int(np.searchsorted(sums[row], points[row], "right")) for row in range(len(sums))]
    drawn: Array = np.minimum(places, logits.shape[1] - 1)
    return drawn


def _keep_likely(warm: Array, rule: Sampling) -> None:
    """Minus infinity for all tokens the rule leaves out; the likeliest one (0) always stays."""
    if 0 < rule.top_k < len(warm):
        least = np.partition(warm, -rule.top_k)[-rule.top_k]
        warm[warm < least] = -np.inf
    if rule.top_p < 1:
        warm[warm < _least_of_nucleus(warm, rule.top_p)] = -np.inf
    if rule.min_p > 0:
        warm[warm < np.log(rule.min_p)] = -np.inf


def _least_of_nucleus(warm: Array, mass: float) -> float:
    """The logit of the last token that is needed to reach this share of the probability."""
    total = np.exp(warm, dtype=np.float64).sum()
    for size in (SHORT_LIST, len(warm)):
        short = np.partition(warm, -size)[-size:] if size < len(warm) else warm
        ordered = np.sort(short)[::-1]
        sums = np.exp(ordered, dtype=np.float64).cumsum() / total
        if sums[-1] >= mass or size >= len(warm):
            break
    return float(ordered[min(int(np.searchsorted(sums, mass)), len(ordered) - 1)])
