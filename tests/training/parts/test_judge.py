"""The judge of made pictures, and the distances it scores by."""

import pytest
import torch

from training.data.class_folders import Pictures
from training.parts.judge import (
    Judge,
    energy_distance,
    gaussian_samples,
    mean_distance,
    nearest_distance,
    score,
)


def bars(each: int, seed: int, *, blank: bool = False) -> Pictures:
    """Two classes: a lying and a standing bar, somewhere, in noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(2).repeat_interleave(each)
    images = torch.randint(0, 60, (2 * each, 1, 16, 16), generator=random)
    places = torch.randint(0, 14, (2 * each,), generator=random)
    for image, label, place in zip(images, labels, places, strict=True):
        rows = image[0] if label == 0 else image[0].T
        rows[place : place + 2] = 0 if blank else 255
    return Pictures(images.to(torch.uint8), labels)


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(bars(200, seed=0), epochs=3)


def test_the_judge_reads_what_it_learned_on_pictures_it_never_saw(judge: Judge) -> None:
    assert judge.accuracy(bars(100, seed=1)) > 0.97


def test_the_judge_learns_even_where_gradients_are_off_and_keeps_none() -> None:
    with torch.no_grad():
        judge = Judge(bars(200, seed=0), epochs=3)

    assert judge.accuracy(bars(100, seed=1)) > 0.97
    assert not judge.embed(bars(1, seed=1).images).requires_grad


def test_the_judge_learns_from_few_pictures_too() -> None:
    torch.manual_seed(0)

    assert Judge(bars(15, seed=0)).accuracy(bars(100, seed=1)) > 0.9


def test_real_pictures_score_as_real_ones(judge: Judge) -> None:
    real, known = bars(100, seed=1), bars(200, seed=0)
    scores = score(judge, bars(100, seed=2), real, known)

    assert scores["label_accuracy"] > 0.97
    assert scores["energy_distance"] == pytest.approx(0, abs=0.05)
    assert scores["diversity"] == pytest.approx(1, abs=0.05)
    assert scores["novelty"] == pytest.approx(1, abs=0.05)


def test_one_picture_over_and_over_has_no_diversity(judge: Judge) -> None:
    real, known = bars(100, seed=1), bars(200, seed=0)
    one_each = torch.tensor([0, 100]).repeat_interleave(50)
    scores = score(judge, bars(100, seed=2)[one_each], real, known)

    assert scores["diversity"] == pytest.approx(0, abs=1e-3)
    assert scores["lowest_diversity"] == pytest.approx(0, abs=1e-3)
    assert scores["energy_distance"] > 0.1


def test_copies_of_training_pictures_have_no_novelty(judge: Judge) -> None:
    known = bars(200, seed=0)

    assert score(judge, known, bars(100, seed=1), known)["novelty"] == pytest.approx(0, abs=1e-3)


def test_pictures_of_another_kind_are_far_away(judge: Judge) -> None:
    real, known = bars(100, seed=1), bars(200, seed=0)

    assert score(judge, bars(100, seed=2, blank=True), real, known)["energy_distance"] > 0.2


def test_distances_of_known_points() -> None:
    corner = torch.tensor([[0.0, 0.0], [3.0, 4.0]])

    assert mean_distance(corner) == pytest.approx(5)
    assert mean_distance(corner[:1]) == 0
    assert nearest_distance(torch.tensor([[3.0, 5.0]]), corner) == pytest.approx(1)


def test_energy_distance_is_a_share_that_grows_from_none_to_all() -> None:
    random = torch.Generator().manual_seed(0)
    some, others = torch.randn(2, 400, 3, generator=random)

    near, away, far = (energy_distance(some, others + offset) for offset in (0.0, 1.0, 1e4))
    assert near == pytest.approx(0, abs=0.02)
    assert near < away < far
    assert far == pytest.approx(1, abs=0.01)


def test_gaussian_samples_have_the_mean_and_the_spread_of_the_images() -> None:
    torch.manual_seed(0)
    images = torch.randint(100, 150, (400, 1, 4, 4), dtype=torch.uint8)
    images[200:] += 50
    known = Pictures(images, torch.arange(2).repeat_interleave(200))
    made = gaussian_samples(known, 500)

    assert made.labels.bincount().tolist() == [500, 500]
    for label in (0, 1):
        ours, theirs = (p.images[p.labels == label].float() for p in (made, known))
        assert ours.mean() == pytest.approx(float(theirs.mean()), rel=0.02)
        assert ours.std(0).mean() == pytest.approx(float(theirs.std(0).mean()), rel=0.1)
