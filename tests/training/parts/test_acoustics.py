"""What throats, rooms, noise and telephones do to a sound."""

import numpy as np
import pytest

from model_store.spec import Array
from training.parts import acoustics

RATE = 16_000
TIMES = np.arange(RATE) / RATE
SOUND = (0.3 * np.sin(2 * np.pi * 1_000 * TIMES)).astype(np.float32)


def power(samples: Array, hertz: float) -> float:
    turn = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / RATE)
    return float(2 * np.abs((samples * turn).mean()))


def test_another_throat_is_higher_and_faster() -> None:
    found = acoustics.other_throat(SOUND, RATE, 1.2)
    assert len(found) == pytest.approx(RATE / 1.2, abs=2)
    assert power(found[500:-500], 1_200) == pytest.approx(0.3, abs=0.02)


def test_a_telephone_lets_nothing_above_4_kilohertz_through() -> None:
    high = (0.3 * np.sin(2 * np.pi * 5_000 * TIMES)).astype(np.float32)
    assert np.abs(acoustics.telephone(high, RATE)[500:-500]).max() < 1e-3
    assert power(acoustics.telephone(SOUND, RATE), 1_000) == pytest.approx(0.3, abs=0.01)


def test_noise_is_as_far_below_the_speech_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    for below_db in (10, 30):
        noise = acoustics.with_noise(SOUND, rng, below_db, below_db) - SOUND
        ratio = np.square(SOUND).mean() / np.square(noise).mean()
        assert 10 * np.log10(ratio) == pytest.approx(below_db, abs=0.1)


def test_a_room_goes_on_after_the_sound_and_comes_out_alike_by_the_same_seed() -> None:
    click = np.zeros(4_000, dtype=np.float32)
    click[100] = 1
    one, other = (acoustics.in_room(click, RATE, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one[100] == pytest.approx(1, abs=1e-3)
    assert np.abs(one[140:1_000]).max() > 1e-3
    assert np.abs(one[:90]).max() < 1e-6
