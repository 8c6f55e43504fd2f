"""Recordings of every form become one channel at the graph's rate, or are refused in words."""

import base64
import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model_store.errors import ItemMismatch, ItemTooLarge
from model_store.inputs.audio import AudioInput
from model_store.spec import Array

RATE = 16_000
SPEC = AudioInput(sample_rate=RATE, block=640, max_seconds=2)


def tone(hertz: float, rate: int = RATE, seconds: float = 0.5) -> Array:
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate))


def recording(samples: Array, rate: int = RATE, kind: str = "WAV", form: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, form, format=kind)
    return buffer.getvalue()


def power(samples: Array, hertz: float) -> float:
    """How much of a tone is in a signal; 0.5 for a tone of amplitude 0.5."""
    turn = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / RATE)
    return float(2 * np.abs((samples * turn).mean()))


@pytest.mark.parametrize(
    ("kind", "form", "close"),
    [
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 1e-7),
        ("WAV", "DOUBLE", 1e-7),
        ("WAVEX", "PCM_16", 1e-4),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.15),
    ],
)
def test_a_recording_of_any_form_gives_the_samples_that_went_in(
    kind: str, form: str, close: float
) -> None:
    samples = tone(440)
    found = SPEC.samples(recording(samples, kind=kind, form=form))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, samples, atol=close)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_a_recording_of_any_rate_is_the_same_tone_at_the_graphs_rate(rate: int) -> None:
    found = SPEC.samples(recording(tone(1_000, rate), rate))
    assert abs(len(found) - RATE / 2) <= 1
    assert power(found[800:-800], 1_000) == pytest.approx(0.5, abs=0.005)


def test_what_the_graphs_rate_cannot_hold_does_not_fold_into_what_it_can() -> None:
    found = SPEC.samples(recording(tone(11_000, 44_100), 44_100))  # would fold to 5,000
    assert power(found[800:-800], 5_000) < 1e-4
    assert np.abs(found[800:-800]).max() < 1e-3


def test_channels_are_averaged() -> None:
    left, right = tone(440), tone(880)
    found = SPEC.samples(recording(np.stack([left, right], axis=1)))
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-4)


def test_blocks_hold_all_samples_and_then_zeros_and_a_mask() -> None:
    encoded = SPEC.encoder(Path())(recording(tone(440, seconds=0.1)), SPEC.parameters())
    audio, mask = encoded.tensors["audio"], encoded.tensors["mask"]
    assert audio.shape == (1, 3, 640)
    np.testing.assert_allclose(audio.ravel()[:1_600], tone(440, seconds=0.1), atol=1e-4)
    assert not audio.ravel()[1_600:].any()
    assert mask.tolist() == [[1, 1, 1]]
    assert encoded.context == {"seconds": 0.1}


def test_blocks_of_one_sample_are_the_samples() -> None:
    spec = AudioInput(sample_rate=RATE)
    encoded = spec.encoder(Path())(recording(tone(440)), spec.parameters())
    assert encoded.tensors["audio"].shape == encoded.tensors["mask"].shape == (1, 8_000)


def test_a_file_in_base64_and_samples_are_items_too() -> None:
    samples = tone(440)
    packed = {"b64": base64.b64encode(recording(samples, form="FLOAT")).decode()}
    listed = {"samples": samples.tolist(), "sample_rate": RATE}
    np.testing.assert_array_equal(SPEC.samples(packed), SPEC.samples(listed))
    assert SPEC.body(packed)[1] == SPEC.body(listed)[1] == "audio/wav"


def test_a_single_sample_is_a_recording() -> None:
    for rate in (1_000, 8_000, 384_000):
        assert len(SPEC.samples({"samples": [0.5], "sample_rate": rate})) >= 1


WHOLE = recording(tone(440))
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (b"", "got an empty file"),
        (b"GIF89a" * 20, "got 120 bytes that begin as none of them"),
        (b"RIFF\x24\0\0\0AVI LIST", "that begin as none of them"),
        (WHOLE[:44], "it is cut off"),
        (WHOLE[:-1_000], "got 15,044 of 16,044 bytes: it is cut off"),
        (WHOLE[:20], "it is cut off"),
        (recording(NOISE, kind="FLAC")[:-5_000], "expected a (whole )?FLAC recording"),
        (recording(NOISE, kind="OGG", form="VORBIS")[:-2_000], "OGG recording.* it is cut off"),
        (b"fLaC" + bytes(400), "400|404 bytes that do not decode"),
        (recording(np.zeros(0)), "got one of no samples"),
        (recording(np.array([0.0, np.nan]), form="FLOAT"), "got nan"),
        (recording(np.array([0.0, np.inf]), form="FLOAT"), "got inf"),
        (recording(np.array([0.0, 9.0]), form="FLOAT"), "from -1 to 1; got 9"),
        (recording(np.zeros((8, 9))), "at most 8 channels; got 9"),
        (recording(np.zeros(8), 500), "1,000 to 384,000 samples a second; got 500"),
        ({"b64": 5}, "b64: expected base64; got 5"),
        ({"b64": "%"}, "b64: expected base64; got '%'"),
        ({"b64": ""}, "got an empty file"),
        ({"samples": [0.5]}, "got keys \\['samples'\\]"),
        ({"samples": [], "sample_rate": RATE}, "samples: expected numbers|no samples"),
        ({"samples": [[0.5]], "sample_rate": RATE}, "samples: expected one list .*\\[1, 1\\]"),
        ({"samples": [0.5, "x"], "sample_rate": RATE}, "samples: expected numbers"),
        ({"samples": [float("nan")], "sample_rate": RATE}, "samples: .* got NaN"),
        ({"samples": [12_000], "sample_rate": RATE}, "samples: .*16-bit ones: divide by 32768"),
        ({"samples": [0.5], "sample_rate": True}, "sample_rate: expected a whole number .*True"),
        ({"samples": [0.5], "sample_rate": 0}, "sample_rate: expected a whole number .*got 0"),
        ("hello", "got 'hello'"),
        (None, "got None"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_refused_in_words(item: Any, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        SPEC.samples(item)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_recording_over_the_limit_is_refused_before_it_is_decoded(kind: str) -> None:
    with pytest.raises(ItemTooLarge, match=r"at most 2 seconds; got 2\.50"):
        SPEC.samples(recording(np.zeros(40_000), kind=kind))
    with pytest.raises(ItemTooLarge, match=r"at most 2 seconds; got 3\.00"):
        SPEC.samples({"samples": [0.0] * 24_000, "sample_rate": 8_000})


def test_a_small_file_of_many_channels_does_not_take_the_memory_of_all_of_them() -> None:
    data = recording(np.zeros((768_000, 8)), 384_000, kind="FLAC")
    assert len(data) < 20_000
    tracemalloc.start()
    try:
        assert len(SPEC.samples(data)) == 2 * RATE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * 768_000 * 8 * 4


@pytest.mark.parametrize("announced", [0x7FFF_F000, 0xFFFF_FFFF])
def test_a_recording_from_a_pipe_has_no_length_and_is_taken(announced: int) -> None:
    size = announced.to_bytes(4, "little")
    piped = WHOLE[:4] + size + WHOLE[8:40] + size + WHOLE[44:]
    np.testing.assert_allclose(SPEC.samples(piped), tone(440), atol=1e-4)


def test_how_long_a_file_lasts() -> None:
    assert SPEC.seconds(recording(tone(440, 8_000), 8_000)) == 0.5
