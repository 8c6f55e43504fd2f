"""Guesses: cells say what they should, suppression is greedy, and batch mates change nothing."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.parts import detection
from training.parts.average_precision import Found, average_precisions

SIDE = 64


def by_hand(boxes: torch.Tensor, labels: torch.Tensor, limit: float) -> list[bool]:
    """Greedy suppression, as it is told."""
    kept: list[int] = []
    for place in range(len(boxes)):
        rivals = [other for other in kept if labels[other] == labels[place]]
        if all(float(detection.overlap(boxes[place], boxes[o])) <= limit for o in rivals):
            kept.append(place)
    return [place in kept for place in range(len(boxes))]


@given(seed=st.integers(0, 10_000))
def test_suppression_keeps_what_a_greedy_search_keeps(seed: int) -> None:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 30, (12, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + random.uniform(5, 25, (12, 2))], 1))
    labels = torch.tensor(random.integers(2, size=12))
    mates = torch.tensor(random.uniform(0, 40, (12, 4)))
    kept = detection.suppressed(torch.stack([boxes, mates]), torch.stack([labels, labels]), 0.3)
    assert (kept[0] > 0).tolist() == by_hand(boxes, labels, 0.3)


def test_an_object_is_said_by_the_cells_around_its_centre_and_a_smaller_one_wins() -> None:
    large, small = torch.tensor([0.0, 0, 32, 32]), torch.tensor([10.0, 10, 22, 22])
    wanted, where = detection.targets(
        [torch.stack([small, large])], [torch.tensor([1, 0])], 2, SIDE
    )
    cells = wanted[0].amax(1).nonzero()[:, 0].tolist()
    assert cells == [9, 10, 17, 18]  # rows and columns 1 and 2 of 8
    assert (wanted[0, cells] == torch.tensor([0, 1])).all()
    assert (where[0, cells] == small).all()


def test_a_perfect_guess_costs_next_to_nothing_and_a_shifted_box_more() -> None:
    boxes = [torch.tensor([[8.0, 8, 40, 40]])]
    wanted, where = detection.targets(boxes, [torch.tensor([0])], 2, SIDE)
    scores = ((wanted * 40) - 20).transpose(1, 2).reshape(1, 2, 8, 8)
    centres = detection.cells(SIDE)
    sides = torch.cat([centres - where[..., :2], where[..., 2:] - centres], -1)
    grid = sides.transpose(1, 2).reshape(1, 4, 8, 8)
    assert float(detection.loss(scores, grid, wanted, where)) < 1e-3
    assert float(detection.loss(scores, grid * 1.5, wanted, where)) > 0.2


def test_a_pictures_guesses_are_the_same_alone_and_in_company() -> None:
    torch.manual_seed(0)
    served = detection.Guesses(detection.Finder(4, 3), 32, 0.0, 0.5).eval()
    images = torch.randint(256, (5, 3, SIDE, SIDE), dtype=torch.uint8)
    with torch.no_grad():
        together = served(images)
        for row in range(5):
            for one, all_of_them in zip(served(images[row : row + 1]), together, strict=True):
                torch.testing.assert_close(one[0], all_of_them[row], atol=1e-5, rtol=1e-5)
    boxes = together[0]
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()


def test_average_precision_counts_hits_misses_and_repeats() -> None:
    objects = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    truth = [Found(objects, torch.tensor([0, 0]), torch.ones(2))]
    guesses = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 31]])
    found = [Found(guesses, torch.zeros(3, dtype=torch.int64), torch.tensor([0.9, 0.8, 0.7]))]
    [score] = average_precisions(truth, found, 1)
    assert score == 0.5 * 1 + 0.5 * 2 / 3  # the second guess at one object is wrong
    assert average_precisions(truth, truth, 1)[0] == 1
    assert np.isnan(average_precisions(truth, found, 2)[1])
