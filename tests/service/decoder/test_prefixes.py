"""Beginnings of prompts: what is kept, for how long, and that it is what was read."""

from pathlib import Path

import numpy as np
import pytest

from service.decoder.prefixes import BLOCK, Prefixes
from service.decoder.shared import SharedCache
from service.runner import Runner
from tests.service.decoder.bundles import walker

ROWS = 4
Prompt = list[int]


@pytest.fixture
def cache(tmp_path: Path) -> SharedCache:
    graph = walker(tmp_path, "shared").graphs["model"]
    assert graph.decoding
    runner = Runner(tmp_path / graph.file, device="cpu", threads=1)
    return SharedCache(runner, graph, graph.decoding, ROWS)


def prompt(seed: int, blocks: int = 2) -> Prompt:
    tokens: Prompt = np.random.default_rng(seed).integers(2, 30, blocks * BLOCK + 1).tolist()
    return tokens


def read(cache: SharedCache, prefixes: Prefixes, tokens: Prompt) -> None:
    cache.open(0, {})
    cache.read(0, tokens)
    prefixes.save(0, tokens)


def test_restored_beginning_is_what_reading_it_would_have_left(cache: SharedCache) -> None:
    prefixes, tokens = Prefixes(cache, 2**20), prompt(0)
    read(cache, prefixes, tokens)
    cache.open(1, {})
    assert prefixes.restore(1, tokens) == cache.lengths[1] == 2 * BLOCK
    cache.open(2, {})
    whole, rest = cache.read(2, tokens), cache.read(1, tokens[-1:])
    assert np.array_equal(whole, rest)


def test_beginning_ends_where_the_prompts_part(cache: SharedCache) -> None:
    prefixes, tokens = Prefixes(cache, 2**20), prompt(0, 3)
    read(cache, prefixes, tokens)
    other = list(tokens)
    other[2 * BLOCK - 1] ^= 1
    assert prefixes.restore(1, other) == BLOCK
    other[0] ^= 1
    assert prefixes.restore(1, other) == 0
    assert (prefixes.asked, prefixes.found) == (2 * len(tokens), BLOCK)


def test_what_is_kept_is_bounded_and_the_least_recently_used_goes_first(cache: SharedCache) -> None:
    room = 4 * BLOCK * cache.token_bytes
    prefixes = Prefixes(cache, room)
    first, second, third = prompt(1), prompt(2), prompt(3)
    read(cache, prefixes, first)
    read(cache, prefixes, second)
    assert prefixes.size_bytes == room
    assert prefixes.restore(1, first) == 2 * BLOCK  # used again, so the second one is older now
    read(cache, prefixes, third)
    assert prefixes.size_bytes == room
    assert prefixes.restore(1, first) == prefixes.restore(1, third) == 2 * BLOCK
    assert prefixes.restore(1, second) == 0


def test_without_room_nothing_is_kept_or_looked_up(cache: SharedCache) -> None:
    prefixes, tokens = Prefixes(cache, 0), prompt(0)
    read(cache, prefixes, tokens)
    assert prefixes.restore(1, tokens) == prefixes.asked == prefixes.size_bytes == 0
