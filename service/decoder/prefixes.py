"""Keys and values of prompts that were read, so that the same beginning is not read again.

Kept in blocks of tokens; a block's key is the hash of all tokens up to its end, as in vLLM's
automatic prefix caching. Bounded in bytes; the least recently used block goes first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from model_store.spec import Array
from service.decoder.shared import SharedCache

BLOCK = 16
"""Tokens in a block."""


class Prefixes:
    """What one cache's rows may begin with; of other forms (None) nothing is kept, as no place of
    theirs is one token's. Used by the decoder's thread only.
    """

    def __init__(self, cache: SharedCache | None, max_bytes: int) -> None:
        self._cache, self._max_bytes = cache, max_bytes
        self._blocks: OrderedDict[bytes, list[Array]] = OrderedDict()
        self.size_bytes = 0
        self.asked = self.found = 0
        """Tokens of prompts looked up so far, and how many of them were there."""

    def restore(self, row: int, prompt: Sequence[int]) -> int:
        """Put the longest known beginning into a fresh row; → its tokens. One token at least is
        left to be read, for its logits.
        """
        if not self._max_bytes or self._cache is None:
            return 0
        self.asked += len(prompt)
        start, keys = 0, _keys(prompt[: len(prompt) - 1])
        for key in keys:
            block = self._blocks.get(key)
            if block is None:
                break
            self._cache.restore(row, start, block)
            start += BLOCK
        self._touch(keys[: start // BLOCK])
        self.found += start
        return start

    def save(self, row: int, prompt: Sequence[int]) -> None:
        """Remember the blocks of a prompt that a row has read, those of them that are new."""
        if not self._max_bytes or self._cache is None:
            return
        keys = _keys(prompt)
        for place, key in enumerate(keys):
            if key in self._blocks:
                continue
            block = self._cache.save(row, place * BLOCK, (place + 1) * BLOCK)
            self._blocks[key] = block
            self.size_bytes += sum(array.nbytes for array in block)
        self._touch(keys)
        while self.size_bytes > self._max_bytes:
            _, block = self._blocks.popitem(last=False)
            self.size_bytes -= sum(array.nbytes for array in block)

    def _touch(self, keys: Sequence[bytes]) -> None:
        """Used just now. The beginning counts as used last: without it the rest is of no use."""
        for key in reversed(keys):
            self._blocks.move_to_end(key)


def _keys(tokens: Sequence[int]) -> list[bytes]:
    """One for each full block."""
    digest, keys = blake2b(digest_size=16), []
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        digest.update(np.array(tokens[start : start + BLOCK], np.int64).tobytes())
        keys.append(digest.digest())
    return keys
