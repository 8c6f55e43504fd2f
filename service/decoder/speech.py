"""Tokens → text that may be shown: whole characters, and never the beginning of a stop string."""

from collections.abc import Sequence

from model_store.answers.text import Pieces


class Speech:
    """What one sequence says."""

    def __init__(self, pieces: Pieces, stops: Sequence[str] = ()) -> None:
        self._pieces, self._stops = pieces, tuple(stops)
        self._held = ""
        self.heard = 0
        """Characters that its tokens came to so far, shown or held back."""
        self.stopped = False
        """A stop string has come; neither it nor what follows is ever shown."""

    def add(self, token: int) -> str:
        """The text that became certain with this token."""
        text = self._pieces.add(token)
        self.heard += len(text)
        return self._release(text) if self._stops else text

    def end(self) -> str:
        """What was held back, when no token follows."""
        if self.stopped:
            return ""
        text = self._release(self._pieces.rest())
        return text if self.stopped else text + self._held

    def show(self, token: int) -> str:
        """One token's own text, for those who look at scores."""
        return self._pieces.show(token)

    def _release(self, text: str) -> str:
        held = self._held + text
        found = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return held[: min(found)]
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
