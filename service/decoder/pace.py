"""How much of a prompt is read between two steps, and of which one. Knows no cache, no thread."""

from collections.abc import Sequence as Many

from service.decoder.sequence import Sequence

PATIENCE, MOST_PATIENCE = 1.5, 2.7
"""Reading between two steps may take so many times what a step takes: the more, the fewer run and
so the shorter a step is, as long as a token comes every :data:`GAP_S`. Where more wait to be read
than run, most are served by reading on.
"""
GAP_S = 0.018
MAX_PIECE, MIN_PIECE = 512, 16
"""Tokens that are read in one run."""
AGEING_S = 1.0
"""A prompt that has waited so long is read before shorter ones."""
MEMORY = 0.8
"""Weight of the past in the running averages of what a run takes."""


class Pace:
    """What steps and pieces took lately, and what follows from it."""

    def __init__(self) -> None:
        self._step_s = self._token_s = 0.0

    def stepped(self, seconds: float) -> None:
        """A step of all that run took so long."""
        self._step_s = _average(self._step_s, seconds)

    def read(self, tokens: int, seconds: float) -> None:
        """A piece of so many tokens took so long."""
        if tokens >= MIN_PIECE:  # of shorter ones the run itself is most
            self._token_s = _average(self._token_s, seconds / tokens)

    def piece(self, running: int, reading: int, spent_s: float) -> int:
        """How many tokens to read now, 0 for none: so many sequences run, so many are read, and
        reading has taken ``spent_s`` since the last step. Not at all is never the first answer.
        """
        if not running:
            return 0 if spent_s else MAX_PIECE
        step_s = self._step_s
        crowd = max(1.0, reading / running)
        spare_s = min(MOST_PATIENCE * step_s, GAP_S - step_s)
        left_s = crowd * max(PATIENCE * step_s, spare_s) - spent_s
        size = int(left_s / self._token_s) // MIN_PIECE * MIN_PIECE if self._token_s else 0
        if size < MIN_PIECE:
            return 0 if spent_s else MIN_PIECE
        return min(MAX_PIECE, size)


def next_to_read(reading: Many[Sequence], now: float) -> Sequence:
    """The shortest first, so that it waits for no long one; but nobody for ever."""
    old = [sequence for sequence in reading if now - sequence.arrived > AGEING_S]
    if old:
        return min(old, key=lambda sequence: sequence.arrived)
    return min(reading, key=lambda sequence: (sequence.unread, sequence.number))


def _average(past: float, now: float) -> float:
    return MEMORY * past + (1 - MEMORY) * now if past else now
