"""The listener: each row by itself, times that are learned, and how spectra are varied."""

import torch

from training.parts import listener
from training.parts.listener import IGNORED, Listener
from training.parts.log_mel import FRAMES


def listen(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    network = Listener(features.shape[2] // FRAMES, 3, 8, 8, 0.0).eval()
    with torch.no_grad():
        scores: torch.Tensor = network(features, mask)
        return scores


def test_a_row_does_not_hear_its_batch_mates_nor_what_is_behind_its_end() -> None:
    features = torch.randn(2, 9, FRAMES * 9, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 9)
    mask[1, 4:] = 0
    together = listen(features, mask)
    alone = listen(features[1:, :4], mask[1:, :4])
    torch.testing.assert_close(together[1:, :4], alone)
    features[1, 4:] = 100
    torch.testing.assert_close(listen(features, mask)[1, :4], alone[0])


def test_of_no_steps_nothing_is_heard_and_nothing_breaks() -> None:
    assert listen(torch.zeros(1, 4, FRAMES * 9), torch.zeros(1, 4)).isfinite().all()


def test_loss_is_lowest_where_the_words_are_said_when_they_are() -> None:
    mask, words, lengths = torch.ones(1, 4), torch.tensor([[1, 2]]), torch.tensor([2])
    aligned = torch.tensor([[0, 1, 2, 0]])

    def cost(path: list[int], known: torch.Tensor) -> float:
        scores = 9 * torch.nn.functional.one_hot(torch.tensor([path]), 4).float()
        weights = torch.tensor([0.1, 1.0])
        return float(listener.loss(scores, mask, words, lengths, known, weights))

    unknown = torch.full((1, 4), IGNORED)
    assert cost([0, 1, 2, 0], aligned) < 0.01
    assert cost([1, 0, 0, 2], aligned) > 1
    assert cost([1, 0, 0, 2], unknown) < 0.01
    assert cost([2, 0, 0, 1], unknown) > 0.5


def test_weights_say_how_much_each_loss_counts() -> None:
    scores = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(2))
    told = torch.ones(1, 4), torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([[0, 1, 2, 0]])
    first, second, both = (
        listener.loss(scores, *told, torch.tensor(weights))
        for weights in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0))
    )
    torch.testing.assert_close(both, 2 * first + 3 * second)


def test_varied_features_are_near_to_what_they_were_but_for_gaps() -> None:
    smooth = torch.linspace(0, 3, 48).sin().repeat(4)[None].expand(20, -1) + 5
    one, same, other = (
        listener.varied(smooth, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    gaps = one == 0
    assert 0 < gaps.float().mean() < 0.3
    assert (one - smooth)[~gaps].abs().max() < 2.5
    assert torch.equal(one[:1].expand(20, -1), one), "all blocks alike"
    unchanged = listener.varied(smooth, torch.Generator().manual_seed(3), 0.0)
    assert torch.equal(unchanged, smooth)
