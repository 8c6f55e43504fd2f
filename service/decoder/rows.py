"""Which sequence has which row of the cache: those that run have the first ones, without a gap."""

from collections.abc import Iterator

from service.decoder.cache import Cache
from service.decoder.sequence import Sequence


class Rows:
    """The rows of one cache. Used by the decoder's thread only."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.running: list[Sequence] = []
        """Whose each of the first rows is; one with beams is there once for each."""
        self.reading: list[Sequence] = []
        """Those whose prompt is still being read, each with one row behind the running ones."""

    @property
    def taken(self) -> int:
        """Rows that are in use, or will be when what is being read runs."""
        return len(self.running) + sum(sequence.width for sequence in self.reading)

    def __iter__(self) -> Iterator[Sequence]:
        """Each sequence once."""
        return iter(dict.fromkeys([*self.running, *self.reading]))

    def add(self, sequence: Sequence) -> None:
        """A row to read its prompt into: the next one to run, if it is free."""
        sequence.rows = [self._free()]
        self.reading.append(sequence)

    def join(self, sequence: Sequence) -> None:
        """Its prompt is read: it gets the rows behind those that run."""
        first = len(self.running)
        wanted = list(range(first, first + sequence.width))
        self._clear(wanted, sequence)
        if sequence.rows != wanted:
            self._cache.copy(sequence.rows * len(wanted), wanted)
        self.reading.remove(sequence)
        sequence.rows = wanted
        self.running += [sequence] * len(wanted)

    def leave(self, sequence: Sequence) -> None:
        """Its rows go to the last ones that run."""
        if sequence in self.reading:
            self.reading.remove(sequence)
            return
        for row in sorted(sequence.rows, reverse=True):
            last = len(self.running) - 1
            if row != last:  # what fails here must lose nobody, so nobody is moved before
                self._cache.copy([last], [row])
            moved = self.running.pop()
            if row != last:
                self.running[row] = moved
                moved.rows[moved.rows.index(last)] = row
        sequence.rows = []

    def reorder(self, sequence: Sequence, parents: list[int]) -> None:
        """Each beam goes on from another one's past."""
        moves = [
            (sequence.rows[parent], row)
            for row, parent in zip(sequence.rows, parents, strict=True)
            if sequence.rows[parent] != row
        ]
        if moves:
            sources, targets = zip(*moves, strict=True)
            self._cache.copy(list(sources), list(targets))

    def _free(self) -> int:
        used = {sequence.rows[0] for sequence in self.reading}
        rows = range(len(self.running), self._cache.rows)
        return next(row for row in rows if row not in used)

    def _clear(self, wanted: list[int], newcomer: Sequence) -> None:
        """Whoever reads into one of these rows goes on in another one."""
        home = newcomer.rows[0]
        for other in self.reading:
            if other is newcomer or other.rows[0] not in wanted:
                continue
            if home not in wanted:  # they change places
                self._cache.copy([home, other.rows[0]], [other.rows[0], home])
                home, other.rows[0] = other.rows[0], home
                newcomer.rows = [home]
                continue
            used = {sequence.rows[0] for sequence in self.reading} | {*wanted}
            goal = next(row for row in range(self._cache.rows) if row not in used
                        and row >= len(self.running))  # fmt: skip
            self._cache.copy([other.rows[0]], [goal])
            other.rows = [goal]
