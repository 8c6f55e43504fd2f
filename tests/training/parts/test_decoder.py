"""Decoder layers over whole sequences; that their graph says the same, the pipeline proves."""

import pytest
import torch

from training.parts.decoder import Decoder, Shape, check_heads

SHAPE = Shape(width=32, layers=2, heads=2, context=16)


@pytest.fixture
def decoder() -> Decoder:
    """One whose layers add something from the start."""
    torch.manual_seed(0)
    decoder = Decoder(11, SHAPE, cross=True).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return decoder.requires_grad_(False)


def source(rows: int, size: int = 5) -> tuple[list[torch.Tensor], torch.Tensor]:
    torch.manual_seed(1)
    memory = [torch.randn(rows, SHAPE.heads, size, SHAPE.head_size) for _ in range(4)]
    return memory, torch.ones(rows, size, dtype=torch.long)


def test_a_token_is_told_without_sight_of_those_after_it(decoder: Decoder) -> None:
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    other = torch.tensor([[1, 2, 3, 9, 9, 9]])
    memory, mask = source(1)
    one, two = decoder(tokens, memory, mask), decoder(other, memory, mask)
    torch.testing.assert_close(one[:, :3], two[:, :3])
    assert not torch.allclose(one[:, 3], two[:, 3])


def test_the_order_of_tokens_matters(decoder: Decoder) -> None:
    memory, mask = source(2)
    told = decoder(torch.tensor([[1, 2, 3], [2, 1, 3]]), memory, mask)
    assert not torch.allclose(told[0, 2], told[1, 2])


def test_what_the_mask_hides_of_the_source_is_not_looked_at(decoder: Decoder) -> None:
    tokens = torch.tensor([[1, 2, 3]])
    memory, mask = source(1)
    shown = decoder(tokens, memory, mask)
    mask[:, 3:] = 0
    hidden = decoder(tokens, memory, mask)
    torch.testing.assert_close(hidden, decoder(tokens, [m[:, :, :3] for m in memory], mask[:, :3]))
    assert not torch.allclose(hidden, shown)


def test_a_fresh_network_knows_nothing_of_what_came_before() -> None:
    """Layers start by adding nothing, so scores are those of the last token alone."""
    fresh = Decoder(11, SHAPE).eval()
    told = fresh(torch.tensor([[1, 2, 3], [7, 5, 3]]))
    torch.testing.assert_close(told[0, 2], told[1, 2])


@pytest.mark.parametrize(("width", "heads"), [(32, 2), (192, 4), (256, 1)])
def test_heads_that_the_graphs_operator_takes_are_taken(width: int, heads: int) -> None:
    check_heads(width, heads)


@pytest.mark.parametrize(("width", "heads"), [(32, 4), (96, 4), (100, 2)])
def test_heads_that_it_does_not_take_are_refused(width: int, heads: int) -> None:
    with pytest.raises(ValueError, match=rf"a width of {heads} heads times a multiple of 16"):
        check_heads(width, heads)
