"""From the logits of a step to what each sequence says: tokens, text, scores and ends.

Nobody leaves in here. So rows stay where they are until all of a step is taken, and whoever ends is
told to the caller with the others.
"""

from collections.abc import Callable
from collections.abc import Sequence as Many
from typing import TypeAlias

import numpy as np

from model_store.spec import Array
from service.decoder.beams import Beams
from service.decoder.cache import Cache
from service.decoder.rows import Rows
from service.decoder.sampling import choose, score
from service.decoder.sequence import Delta, Sequence, TokenScore
from service.errors import ModelFault

Outcome: TypeAlias = tuple[Sequence, Delta | Exception]
NO_NUMBER = "the model's numbers for the next token are none"


class Saying:
    """The next token of sequences in ``rows`` of a cache. Used by the decoder's thread only."""

    def __init__(self, cache: Cache, rows: Rows) -> None:
        self._cache, self._rows = cache, rows
        self._end = frozenset(cache.decoding.end)

    def begin(self, sequence: Sequence) -> None:
        """Its prompt is read and its rows are there."""
        if sequence.width > 1:
            sequence.beams = Beams(
                sequence.width, self._cache.decoding.end, sequence.limit,
                sequence.sampling.length_penalty,
            )  # fmt: skip

    def go_on(self, running: Many[Sequence], logits: Array) -> list[Outcome]:
        """The next token of each row, from float32 ``[B, V]``, whose owners are ``running``. A
        sequence with beams has an outcome at its end only.
        """
        plain = [row for row, sequence in enumerate(running) if sequence.beams is None]
        outcomes: list[Outcome] = []
        if plain:
            whole = len(plain) == len(running)
            outcomes = self._say(
                running if whole else [running[row] for row in plain],
                logits if whole else logits[plain],
            )
        if len(plain) < len(running):
            for sequence in dict.fromkeys(running):
                if sequence.beams is not None:
                    own = logits[_in_order_of_beams(running, sequence)]
                    outcomes += _guarded(self._search, sequence, own)
        return outcomes

    def _say(self, sequences: Many[Sequence], logits: Array) -> list[Outcome]:
        raw = {
            row: logits[row].copy()
            for row, sequence in enumerate(sequences)
            if sequence.sampling.logprobs is not None
        }
        chosen = choose(logits, sequences)
        sound = np.isfinite(logits[np.arange(len(chosen)), chosen])
        outcomes: list[Outcome] = []
        for row, sequence in enumerate(sequences):
            if not sound[row]:
                outcomes.append((sequence, ModelFault(NO_NUMBER)))
                continue
            token = int(chosen[row])
            outcomes += _guarded(self._said, sequence, token, raw.get(row))
            self._cache.tokens[sequence.rows[0], 0] = token
        return outcomes

    def _said(self, sequence: Sequence, token: int, logits: Array | None) -> Delta:
        """What one more token makes of a sequence."""
        scores: tuple[TokenScore, ...] = ()
        if logits is not None:
            scores = (score(logits, token, sequence),)
        speech = sequence.speech
        if token in self._end:
            return Delta(0, speech.end(), "stop")
        sequence.said.append(token)
        text = speech.add(token)
        if speech.stopped:
            return Delta(1, text, "stop", scores)
        if len(sequence.said) >= sequence.limit:
            return Delta(1, text + speech.end(), "length", scores)
        return Delta(1, text, None, scores)

    def _search(self, sequence: Sequence, logits: Array) -> Delta | None:
        """The same for one with beams, whose rows' logits are in the order of its beams."""
        beams = sequence.beams
        if beams is None:
            return None
        if not np.isfinite(logits.max()):
            raise ModelFault(NO_NUMBER)
        choice = beams.advance(logits)
        if choice:
            self._rows.reorder(sequence, choice.parents)
            self._cache.tokens[sequence.rows, 0] = choice.tokens
            return None
        sequence.said, reason = beams.best
        text = "".join([sequence.speech.add(token) for token in sequence.said])
        return Delta(len(sequence.said), text + sequence.speech.end(), reason)


def _guarded(
    say: Callable[..., Delta | None], sequence: Sequence, *arguments: object
) -> list[Outcome]:
    """What goes wrong with one text is that text's matter."""
    try:
        delta = say(sequence, *arguments)
    except Exception as error:  # noqa: BLE001 - a tokenizer raises what it likes
        return [(sequence, error)]
    return [(sequence, delta)] if delta else []


def _in_order_of_beams(running: Many[Sequence], sequence: Sequence) -> list[int]:
    """Where each of its beams stands among those that run; one place when it has just been read."""
    places = [place for place, owner in enumerate(running) if owner is sequence]
    found = dict(zip(sorted(sequence.rows), places, strict=False))
    return [found[row] for row in sequence.rows if row in found]
