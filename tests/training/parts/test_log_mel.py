"""Log-mel spectra by fixed kernels are those of the textbook, however a recording is padded."""

import numpy as np
import torch

from model_store.spec import Array
from training.parts.log_mel import BINS, BLOCK, FLOOR, HOP, WINDOW, LogMel, mel_bands

RATE, BANDS = 16_000, 40


def blocks(samples: Array) -> tuple[torch.Tensor, torch.Tensor]:
    audio = torch.tensor(samples, dtype=torch.float32).reshape(1, -1, BLOCK)
    return audio, torch.ones(audio.shape[:2])


def by_fft(samples: Array) -> Array:
    """The same by numpy's transform: ``[frames, BANDS]``, before any mean is taken off."""
    samples = samples / np.sqrt(np.square(samples).mean())
    padded = np.pad(samples, (WINDOW - HOP) // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = np.hanning(WINDOW)
    spectrum = np.fft.rfft(frames * window, 2 * (BINS - 1)) / np.sqrt(np.square(window).sum())
    found: Array = np.log(np.square(np.abs(spectrum)) @ mel_bands(BANDS, RATE).T + FLOOR)
    return found


def test_spectra_are_those_of_a_fourier_transform() -> None:
    samples = np.random.default_rng(0).standard_normal(BLOCK * 10).cumsum()
    found = LogMel(BANDS, RATE)(*blocks(samples))[0].reshape(-1, BANDS).numpy()
    expected = by_fft(samples)
    np.testing.assert_allclose(found, expected - expected.mean(0), atol=2e-3)


def test_loudness_makes_no_difference() -> None:
    samples = np.random.default_rng(1).standard_normal(BLOCK * 5)
    module = LogMel(BANDS, RATE)
    loud, soft = module(*blocks(samples)), module(*blocks(samples / 500))
    torch.testing.assert_close(loud, soft, atol=1e-3, rtol=0)


def test_what_is_behind_the_end_makes_no_difference() -> None:
    samples = np.random.default_rng(2).standard_normal(BLOCK * 5)
    audio, mask = blocks(samples)
    module = LogMel(BANDS, RATE)
    padded = torch.nn.functional.pad(audio, (0, 0, 0, 7)), torch.nn.functional.pad(mask, (0, 7))
    found = module(*padded)
    torch.testing.assert_close(found[:, :5], module(audio, mask))
    assert not found[:, 5:].any()


def test_silence_and_nothing_at_all_are_finite() -> None:
    module = LogMel(BANDS, RATE)
    zeros = torch.zeros(1, 3, BLOCK)
    for mask in (torch.ones(1, 3), torch.zeros(1, 3)):
        assert module(zeros, mask).isfinite().all()


def test_every_band_hears_something() -> None:
    bands = mel_bands(64, RATE)
    np.testing.assert_allclose(bands.sum(1), 1)
    peaks = bands.argmax(1)
    assert (np.diff(peaks) >= 0).all()
