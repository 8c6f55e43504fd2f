"""Gated units that say anew: one token at a time, padded, and as graphs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.export import export
from training.parts.decoder import CrossAttention, Shape
from training.parts.encoder_decoder import EncoderDecoder
from training.parts.gated import Gated
from training.parts.recurrent_encoder_decoder import (
    RecurrentEncoderDecoder,
    recurrent_encoder_decoder_exports,
)
from training.parts.saying_anew import Speaker
from training.recipe import Package
from training.verify import verify

WORDS = 50
SHAPE = Shape(width=32, layers=1, heads=2, context=40)


def network(kind: str) -> Speaker:
    torch.manual_seed(0)
    made = (
        RecurrentEncoderDecoder(WORDS, SHAPE)
        if kind == "recurrent"
        else EncoderDecoder(WORDS, WORDS, SHAPE, tied=True)
    )
    for parameter in made.parameters():  # what begins with zeros would hide a mistake
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def sample(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    lengths = torch.tensor([9 + row % 5 for row in range(rows)])
    mask = (torch.arange(13) < lengths[:, None]).long()
    tokens = torch.randint(1, WORDS, (rows, 13), generator=generator) * mask
    return tokens, mask, torch.randint(1, WORDS, (rows, 12), generator=generator)


@pytest.mark.parametrize("kind", ["recurrent", "attending"])
def test_one_token_at_a_time_is_said_as_the_whole_at_once(kind: str) -> None:
    speaker = network(kind)
    tokens, mask, said = sample(3)
    with torch.no_grad():
        memory = speaker.remember(tokens, mask)
        whole, past = speaker(said, memory, mask), ()
        for place in range(said.shape[1]):
            scores, past = speaker.follow(said[:, place], past, memory, mask)  # type: ignore[assignment]
            torch.testing.assert_close(scores, whole[:, place], atol=1e-4, rtol=1e-4)


def test_padding_of_the_source_is_not_heard() -> None:
    speaker = network("recurrent")
    tokens, mask, said = sample(3)
    with torch.no_grad():
        together = speaker(said, speaker.remember(tokens, mask), mask)
        for row in range(3):
            own = int(mask[row].sum())
            one, its = tokens[row : row + 1, :own], mask[row : row + 1, :own]
            alone = speaker(said[row : row + 1], speaker.remember(one, its), its)
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_the_graphs_are_proved_at_every_length(tmp_path: Path) -> None:
    speaker = network("recurrent")
    assert isinstance(speaker, RecurrentEncoderDecoder)
    graphs = recurrent_encoder_decoder_exports(speaker, sample, end=0, lengths=(16, 40))
    exported = {name: export(name, graph, tmp_path) for name, graph in graphs.items()}
    parity = verify(Package(graphs, {}), exported, tmp_path)
    assert max(found.max_difference for found in parity.values()) < 1e-4


def test_it_begins_with_the_vectors_it_is_given() -> None:
    vectors = torch.randn(WORDS, 32)
    vectors[7] = 0
    for kind in ("recurrent", "attending"):
        speaker = network(kind)
        assert isinstance(speaker, RecurrentEncoderDecoder | EncoderDecoder)
        before = speaker.lookup.weight.detach().clone()
        speaker.begin_with(vectors)
        assert torch.equal(speaker.lookup.weight[7], before[7])
        assert torch.equal(speaker.lookup.weight[8], vectors[8])
        attentions = [part for part in speaker.modules() if isinstance(part, CrossAttention)]
        assert attentions
        for cross in attentions:
            assert torch.equal(cross.key.weight, cross.query.weight), "like looks at like"


def test_a_gated_layer_goes_on_from_its_state() -> None:
    layer = Gated(4, 6)
    flow, before = torch.randn(2, 5, 4), torch.randn(2, 6)
    whole, last = layer(flow, before)
    first, state = layer(flow[:, :2], before)
    rest, after = layer(flow[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole)
    torch.testing.assert_close(after, last)
