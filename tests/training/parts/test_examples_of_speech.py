"""Labels of blocks, and batches of recordings of several lengths."""

import torch

from training.parts.examples_of_speech import Example, aligned, blocks, collate
from training.parts.listener import IGNORED
from training.parts.log_mel import BLOCK


def test_blocks_are_labelled_by_the_word_at_their_middle() -> None:
    words = torch.tensor([3, 3, 5])
    told = aligned(((0.04, 0.12), (0.12, 0.2), (0.29, 0.295)), words, 8)
    assert told.tolist() == [0, 3, 0, 3, 3, 0, 0, 5]
    assert aligned(None, words, 2).tolist() == [IGNORED] * 2


def test_batches_are_as_long_as_their_longest_recording() -> None:
    parts = [
        Example(torch.ones(length, 5), torch.arange(1, words + 1), torch.zeros(length).long())
        for length, words in ((4, 1), (2, 3))
    ]
    features, mask, words, lengths, known, weights = collate(parts, (1.0, 0.5))
    assert features.shape == (2, 4, 5)
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert words.tolist() == [[1, 0, 0], [1, 2, 3]]
    assert lengths.tolist() == [1, 3]
    assert known[1].tolist() == [0, 0, IGNORED, IGNORED]
    assert weights.tolist() == [1.0, 0.5]


def test_last_block_is_filled_up_with_zeros() -> None:
    audio, mask = blocks([torch.ones(BLOCK + 1).numpy(), torch.ones(3).numpy()])
    assert audio.shape == (2, 2, BLOCK)
    assert audio.sum((1, 2)).tolist() == [BLOCK + 1, 3]
    assert mask.tolist() == [[1, 1], [1, 0]]
