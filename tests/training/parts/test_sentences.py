import pytest
import torch

from training.data import minilm
from training.parts.sentences import SentenceEncoder, embed, pretrained
from training.parts.tokens import pad

TEXTS = ["A cat sleeps on the sofa.", "Shares fell.", "A kitten naps on the couch, all day long."]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return pretrained(minilm.read()).eval()


def ids() -> list[list[int]]:
    return [encoding.ids for encoding in minilm.read().tokenizer.encode_batch(TEXTS)]


def test_padding_does_not_change_a_text(encoder: SentenceEncoder) -> None:
    with torch.no_grad():
        together = encoder(*pad(ids()))
        alone = torch.cat([encoder(*pad([row])) for row in ids()])

    assert torch.allclose(together, alone, atol=1e-5)


def test_like_meanings_are_nearer(encoder: SentenceEncoder) -> None:
    cat, shares, kitten = torch.nn.functional.normalize(embed(encoder, ids()))

    assert cat @ kitten > 0.5 > 0.2 > cat @ shares


def test_vectors_come_in_the_order_of_the_texts(encoder: SentenceEncoder) -> None:
    there, back = embed(encoder, ids()), embed(encoder, ids()[::-1])

    assert torch.allclose(there, back.flip(0), atol=1e-6)
    assert not torch.allclose(there[0], there[1], atol=1e-2)


def test_training_one_leaves_the_next_as_it_was_published(encoder: SentenceEncoder) -> None:
    spoilt = pretrained(minilm.read())
    with torch.no_grad():
        for parameter in spoilt.parameters():
            parameter.zero_()

    assert torch.equal(embed(pretrained(minilm.read()).eval(), ids()), embed(encoder, ids()))
