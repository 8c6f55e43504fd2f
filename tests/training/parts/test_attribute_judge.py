"""The judge that reads attributes off pictures, and the Fréchet distance."""

import pytest
import torch

from training.data.attributed_pictures import Pictures
from training.parts.attribute_judge import AttributeJudge, frechet_distance

COUNTS = (2, 3)


def bars(count: int, seed: int) -> Pictures:
    """Lying or standing, in one of three colours, somewhere, in noise."""
    random = torch.Generator().manual_seed(seed)
    places = torch.stack([torch.randint(0, n, (count,), generator=random) for n in COUNTS], 1)
    images = torch.randint(0, 60, (count, 3, 16, 16), generator=random)
    for image, (lying, colour) in zip(images, places.tolist(), strict=True):
        at = int(torch.randint(0, 14, (1,), generator=random))
        rows = image[colour] if lying else image[colour].T
        rows[at : at + 2] = 255
    return Pictures(images.to(torch.uint8), places)


@pytest.fixture(scope="module")
def judge() -> AttributeJudge:
    torch.manual_seed(0)
    with torch.no_grad():  # it learns all the same
        return AttributeJudge(bars(300, seed=0), COUNTS)


def test_the_judge_reads_every_attribute_of_pictures_it_never_saw(judge: AttributeJudge) -> None:
    found = judge.score(bars(200, seed=1), bars(200, seed=2))
    assert found["attribute_accuracy"] > 0.95
    assert found["all_attributes_accuracy"] <= found["lowest_attribute_accuracy"]
    assert found["lowest_attribute_accuracy"] <= found["attribute_accuracy"]


def test_pictures_that_show_something_else_are_read_so(judge: AttributeJudge) -> None:
    made = bars(200, seed=1)
    wrong = Pictures(made.images, torch.stack([1 - made.places[:, 0], made.places[:, 1]], 1))
    right = judge.right(wrong).double().mean(0)
    assert right[0] < 0.1
    assert right[1] > 0.9


def test_blurred_pictures_are_further_off_than_real_ones(judge: AttributeJudge) -> None:
    real, others = bars(200, seed=1), bars(200, seed=2)
    blurred = torch.nn.functional.avg_pool2d(others.images.float(), 5, 1, 2).to(torch.uint8)
    sharp = judge.score(others, real)["frechet_distance"]
    assert judge.score(Pictures(blurred, others.places), real)["frechet_distance"] > 3 * sharp


def test_frechet_distance_of_normal_clouds_is_what_the_formula_says() -> None:
    random = torch.Generator().manual_seed(0)
    some = torch.randn(20_000, 3, generator=random, dtype=torch.float64)
    others = 2 * torch.randn(20_000, 3, generator=random, dtype=torch.float64)
    others[:, 0] += 3
    # Means 3 apart; deviations 1 and 2 along each of three axes: 9 + 3 · (2 - 1)².
    assert frechet_distance(some, others) == pytest.approx(12, rel=0.03)
    assert frechet_distance(some, some) == pytest.approx(0, abs=1e-6)
    turned = others @ torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))[0]
    assert frechet_distance(others, turned) >= 0


def test_frechet_distance_takes_features_that_are_always_nothing() -> None:
    flat = torch.zeros(50, 4)
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)
