"""Reading with few pictures, and intervals of what more of them are worth."""

import pytest
import torch

from training.data import digits
from training.data.class_folders import Pictures
from training.parts.few_pictures import Interval, intervals, learned


@pytest.fixture(scope="module")
def few() -> Pictures:
    return digits.load(None, 0).train[torch.arange(100)]


def test_a_reader_learns_the_pictures_it_is_shown(few: Pictures) -> None:
    reader = learned(few, strength=0, steps=60, seed=0)

    assert reader.accuracy(few) > 0.9


def test_a_reader_learns_from_made_pictures_too(few: Pictures) -> None:
    real, made = few[few.labels < 5], few[few.labels >= 5]
    last = Pictures(few.images[:1], torch.tensor([9]))  # so that it knows of ten labels
    without = learned(real + last, strength=0, steps=60, seed=0)
    beside = learned(real + last, made, strength=0, steps=60, seed=0)

    assert beside.accuracy(made) > without.accuracy(made) + 0.5


def test_the_same_seed_is_the_same_reader_and_draws_nothing_from_others(few: Pictures) -> None:
    state = torch.get_rng_state()
    one, same = (learned(few, strength=1, steps=3, seed=4) for _ in range(2))

    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        assert torch.equal(one(few.images.float()), same(few.images.float()))


def test_an_interval_is_students_t() -> None:
    interval = Interval.of([0.01, 0.02, 0.03, 0.04, 0.05])

    # 2.776 (four degrees of freedom) · 0.0158 / √5, by hand.
    assert interval.mean == pytest.approx(0.03)
    assert interval.low == pytest.approx(0.03 - 0.01963, abs=1e-4)
    assert interval.high == pytest.approx(0.03 + 0.01963, abs=1e-4)
    assert str(interval) == "+3.0 points (+1.0 to +5.0)"


def test_the_picture_names_each_row() -> None:
    [axes] = intervals({"none": [0.9, 0.91], "both_of_them": [0.92, 0.95]}).axes

    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "both of them"]
