"""What happens to speech before a microphone hears it: another throat, a room, noise, a telephone.

For training and for honest tests. float32 ``[samples]`` in and out. Knows no recipe.
"""

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

Samples = npt.NDArray[np.float32]
TELEPHONE_RATE = 8_000


def other_throat(samples: Samples, rate: int, factor: float) -> Samples:
    """Faster and higher by ``factor``, formants too: as if from a smaller person."""
    import soxr

    found: Samples = soxr.resample(samples, rate * factor, rate, "MQ")
    return found


def telephone(samples: Samples, rate: int) -> Samples:
    """What is left after 8,000 samples a second."""
    import soxr

    narrow = soxr.resample(samples, rate, TELEPHONE_RATE)
    found: Samples = soxr.resample(narrow, TELEPHONE_RATE, rate)
    return found


def in_room(samples: Samples, rate: int, rng: np.random.Generator) -> Samples:
    """With the reverberation of a room: the direct sound, then noise that decays by 60 dB in 0.1 to
    0.5 s (Polack's model), 3 to 15 dB below it in all.
    """
    decay_s = rng.uniform(0.1, 0.5)
    times = np.arange(int(0.6 * decay_s * rate)) / rate
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / decay_s)
    tail[: rate // 500] = 0
    below_db = rng.uniform(3, 15)
    tail *= 10 ** (-below_db / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    heard: Samples = fftconvolve(samples, tail)[: len(samples) + rate // 20].astype(np.float32)
    return heard


def with_noise(
    samples: Samples, rng: np.random.Generator, least_db: float = 12, most_db: float = 35
) -> Samples:
    """Noise of one colour between white and brown, so many decibels below the speech."""
    size = next_fast_len(len(samples), real=True)  # a prime number of samples takes far longer
    spectrum = rfft(rng.standard_normal(size))
    tilt = rng.uniform(0, 1)
    spectrum /= np.maximum(1, np.arange(len(spectrum))) ** tilt
    noise = irfft(spectrum, size)[: len(samples)]
    power = np.square(samples).mean() / max(1e-12, np.square(noise).mean())
    level = np.sqrt(power * 10 ** (-rng.uniform(least_db, most_db) / 10))
    found: Samples = (samples + level * noise).astype(np.float32)
    return found
