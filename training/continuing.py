"""Running a graph token by token, as the server's decoder does: what is kept of some rows goes from
run to run, a ``shared`` cache in its own memory. Compares with whole sequences by torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_store.answers.text import TextAnswer
from model_store.decoding import Decoding
from model_store.manifest import Verb
from model_store.spec import Array, Tensors
from training.errors import ParityError
from training.parity import difference, run
from training.recipe import GraphExport, Package

LEFTOVER = 7.0
"""Stands in a shared cache where nothing was written: a freed slot is not wiped either."""
EXAMPLE_TOKENS = 8
MORE_SOURCE = 3


class Sequences:
    """Rows of one graph, all run together. ``feeds``: their inputs but tokens, lengths, wanted."""

    def __init__(self, session: Any, decoding: Decoding, feeds: Tensors) -> None:
        self._session, self._decoding = session, decoding
        self.feeds = {key: np.array(value) for key, value in feeds.items()}

    def follow(self, tokens: Array, lengths: Array) -> Array:
        """New tokens int64 ``[B, T]`` after ``lengths`` int64 ``[B]`` others; → the logits of the
        last, ``[B, V]``.
        """
        decoding, (rows, time) = self._decoding, tokens.shape
        feeds = {**self.feeds, decoding.tokens: tokens}
        if decoding.wanted:
            feeds[decoding.wanted] = np.full((rows, 1), time - 1)
        if decoding.lengths:
            feeds[decoding.lengths] = (lengths + time - 1).astype(np.int32)
        got = self._run(feeds)
        for name, output in decoding.cache.items():
            if decoding.form != "shared":
                self.feeds[name] = got[output]
        logits: Array = got[decoding.logits][:, -1]
        return logits

    def _run(self, feeds: Tensors) -> Tensors:
        """A shared cache is written where it is read."""
        binding, decoding = self._session.io_binding(), self._decoding
        cache = decoding.cache if decoding.form == "shared" else {}
        for name, array in feeds.items():
            if name in cache:
                place = ("cpu", 0, array.dtype, array.shape, array.ctypes.data)
                binding.bind_input(name, *place)
                binding.bind_output(cache[name], *place)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
        names = [o.name for o in self._session.get_outputs() if o.name not in cache.values()]
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        bound = [*cache.values(), *names]
        return dict(zip(bound, binding.copy_outputs_to_cpu(), strict=True))

    @classmethod
    def together(cls, rows: "list[Sequences]") -> "Sequences":
        """All of them as rows of one batch."""
        first = rows[0]
        feeds = {key: np.concatenate([row.feeds[key] for row in rows]) for key in first.feeds}
        return cls(first._session, first._decoding, feeds)


def check(where: str, feeds: Tensors, whole: Tensors, session: Any, export: GraphExport) -> float:
    """Rows begun alone and in pieces, each with its own length, then continued in company: each
    token's logits are those of the ``whole`` sequences. → the largest difference.

    Raises ParityError.
    """
    decoding = export.decoding
    if decoding is None or decoding.form == "growing":
        raise ParityError(f"{where}: expected a cache that is shared, or a state")
    tokens, logits = feeds[decoding.tokens], whole[decoding.logits]
    rows, time = tokens.shape
    if time < rows + 3:
        raise ParityError(f"{where}: a sample of {time} tokens leaves nothing to continue")
    worst, begun = 0.0, []
    starts = np.linspace(2, time - 2, rows).astype(np.int64)

    def compare(what: str, want: Array, have: Array) -> None:
        nonlocal worst
        found = {decoding.logits: have}
        gap = difference(f"{where}, {what}", {decoding.logits: want}, found, export.tolerance)
        worst = max(worst, gap)

    for row, start in enumerate(starts):
        alone = Sequences(session, decoding, _kept(feeds, decoding, row))
        half = start // 2
        mine, expected = tokens[row : row + 1], logits[row : row + 1]
        have = alone.follow(mine[:, :half], np.array([0]))
        compare(f"row {row} begun", expected[:, half - 1], have)
        have = alone.follow(mine[:, half:start], np.array([half]))
        compare(f"row {row} in pieces", expected[:, start - 1], have)
        begun.append(alone)
    company = Sequences.together(begun)
    company.feeds = _with_longer_source(company.feeds, export)
    at = np.arange(rows)
    for step in range(time - int(starts.max())):
        have = company.follow(tokens[at, starts + step, None], starts + step)
        compare(f"continued by {step + 1}", logits[at, starts + step], have)
    return worst


def _kept(feeds: Tensors, decoding: Decoding, row: int) -> Tensors:
    """What goes with one row from run to run."""
    each_run = {decoding.tokens, decoding.wanted, decoding.lengths}
    kept = {key: value[row : row + 1] for key, value in feeds.items() if key not in each_run}
    if decoding.form == "shared":
        kept |= {name: np.full_like(kept[name], LEFTOVER) for name in decoding.cache}
    return kept


def _with_longer_source(feeds: Tensors, export: GraphExport) -> Tensors:
    """A longer sentence has joined: all others are padded to its length."""
    source = export.decoding.source if export.decoding else None
    label = export.axes[source.mask][1] if source else None
    padded = dict(feeds)
    for key in feeds:
        for axis, named in export.axes.get(key, {}).items():
            if named == label:
                widths = [
                    (0, MORE_SOURCE if place == axis else 0) for place in range(feeds[key].ndim)
                ]
                padded[key] = np.pad(feeds[key], widths)
    return padded


def write(
    verb: Verb, package: Package, sessions: Mapping[str, Any], encoded: Tensors, folder: Path
) -> tuple[Tensors, dict[str, Any]]:
    """A verb's example: a few tokens, each the likeliest, as tensors and context of an answer."""
    export = package.graphs[verb.graph]
    decoding = export.decoding
    if decoding is None or not isinstance(verb.answer, TextAnswer):
        raise ParityError(f"expected an answer of kind text; got {verb.answer.kind}")
    first = {key: value.numpy()[:1] for key, value in export.sample(1).items()}
    feeds, given = _kept(first, decoding, 0), list(decoding.start)
    if decoding.source:
        memory = run(sessions[decoding.source.graph], encoded) | encoded
        feeds |= {key: value for key, value in memory.items() if key in feeds}
    else:
        given += encoded[decoding.tokens][0].tolist()
    row, length = Sequences(sessions[verb.graph], decoding, feeds), 0
    said: list[int] = []
    new = given[-decoding.context + EXAMPLE_TOKENS :]
    while len(said) < EXAMPLE_TOKENS:
        token = int(row.follow(np.array([new]), np.array([length])).argmax())
        length += len(new)
        if token in decoding.end:
            break
        said.append(token)
        new = [token]
    pieces = verb.answer.pieces(folder)()
    text = "".join(pieces.add(token) for token in said) + pieces.rest()
    return {"tokens": np.array([said], dtype=np.int64)}, {"text": text}
