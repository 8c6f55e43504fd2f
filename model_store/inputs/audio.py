"""Audio items: a recording (base64 or raw WAV, FLAC, OGG) or samples → float32 ``[1, T, block]``,
and a mask float32 ``[1, T]`` that is 1 at every block the recording reaches.

Only structure is done here (decode, mix to one channel, resample, cut into blocks); loudness,
spectra and the like are in the graph.
"""

import base64
import binascii
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from model_store.errors import ItemMismatch, ItemTooLarge
from model_store.spec import Encoded, Encoder, InputKind, numbers, show, show_names

Samples = npt.NDArray[np.float32]

FORMATS = {"audio/wav": "WAV", "audio/flac": "FLAC", "audio/ogg": "OGG"}
BEGINNINGS = {b"RIFF": "audio/wav", b"RIFX": "audio/wav", b"fLaC": "audio/flac",
              b"OggS": "audio/ogg"}  # fmt: skip
"""libsndfile's many other parsers stay out of reach of strangers' bytes."""
MIN_RATE, MAX_RATE = 1_000, 384_000
MAX_CHANNELS = 8
PIECE = 65_536
"""Samples of each channel that are decoded at a time."""
MAX_AMPLITUDE = 8.0
"""Full scale is 1. Recordings in floats may go over it, but nothing sensible does by 18 dB."""
UNKNOWN_BYTES = 0x7FFF_0000
"""Sizes from here on stand in files that were written to a pipe."""
WANTED = 'expected {"b64": "…"} of a WAV, FLAC or OGG file, or {"samples": […], "sample_rate": n}'
KEYS = ({"b64"}, {"samples", "sample_rate"})


class Recording(NamedTuple):
    """Float32 ``[samples]`` of one channel, and how many there are a second."""

    samples: Samples
    rate: int


class AudioInput(InputKind):
    """A recording as one channel at the graph's rate, cut into blocks of so many samples; the last
    one is filled up with zeros. A block is a step of the graph's time axis, which may be padded. In
    blocks of 1 the samples are ``[1, T]``.
    """

    media_types: ClassVar[tuple[str, ...]] = (
        *FORMATS, "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/x-flac",
    )  # fmt: skip
    compressed: ClassVar[bool] = True

    kind: Literal["audio"] = "audio"
    tensor: str = "audio"
    mask: str = "mask"
    sample_rate: int = Field(default=16_000, ge=MIN_RATE, le=MAX_RATE)
    block: int = Field(default=1, gt=0)
    max_seconds: float = Field(default=30, gt=0)

    def encoder(self, folder: Path) -> Encoder:
        del folder

        def encode(item: object, parameters: Any) -> Encoded:
            del parameters
            samples = self.samples(item)
            steps = -(-len(samples) // self.block)
            blocks = np.zeros((1, steps, self.block), dtype=np.float32)
            blocks.reshape(-1)[: len(samples)] = samples
            tensors = {
                self.tensor: blocks[..., 0] if self.block == 1 else blocks,
                self.mask: np.ones((1, steps), dtype=np.float32),
            }
            return Encoded(tensors, {"seconds": len(samples) / self.sample_rate})

        return encode

    def samples(self, item: object) -> Samples:
        """``[samples]`` of one channel at the graph's rate. Raises ItemError."""
        found = self._open(item)
        if found.rate == self.sample_rate:
            return found.samples
        import soxr

        # A steep filter keeps what the new rate cannot hold from folding into what it can.
        resampled: Samples = soxr.resample(found.samples, found.rate, self.sample_rate, "HQ")
        return resampled if len(resampled) else np.zeros(1, dtype=np.float32)

    def body(self, item: object) -> tuple[bytes, str]:
        import soundfile

        data = _bytes(item)
        if data is not None:
            return data, media_type_of(data)
        found, buffer = self._open(item), io.BytesIO()
        soundfile.write(buffer, found.samples, found.rate, "FLOAT", format="WAV")
        return buffer.getvalue(), "audio/wav"

    def seconds(self, data: bytes) -> float:
        """How long the recording in a file lasts, by its header. Raises ItemError."""
        with self._file(data) as file:
            seconds: float = file.frames / file.samplerate
        return seconds

    def _open(self, item: object) -> Recording:
        data = _bytes(item)
        found = self._listed(item) if data is None else self._decode(data)
        if not len(found.samples):
            raise ItemMismatch("expected a recording; got one of no samples")
        loudest = float(np.abs(found.samples).max())
        if not loudest <= MAX_AMPLITUDE:  # NaN is not either
            raise ItemMismatch(
                f"expected samples from -1 to 1; got {loudest:g} (16-bit ones: divide by 32768)",
                field="samples" if data is None else "",
            )
        return found

    def _listed(self, item: Any) -> Recording:
        rate = item["sample_rate"]
        if type(rate) is not int or not MIN_RATE <= rate <= MAX_RATE:
            raise ItemMismatch(
                f"expected a whole number from {MIN_RATE:,} to {MAX_RATE:,}; got {show(rate)}",
                field="sample_rate",
            )
        samples = numbers(item["samples"], field="samples")
        if samples.ndim != 1:
            raise ItemMismatch(
                f"expected one list of numbers; got shape {list(samples.shape)}", field="samples"
            )
        self._check_length(len(samples), rate)
        return Recording(samples.astype(np.float32), rate)

    def _decode(self, data: bytes) -> Recording:
        """Raises ItemError."""
        parts = [np.zeros(0, dtype=np.float32)]
        with self._file(data) as file:
            # Piece by piece: never are all channels of all of it in memory.
            while len(piece := file.read(PIECE, dtype="float32", always_2d=True)):
                parts.append(piece.mean(axis=1, dtype=np.float32))
            promised, rate = file.frames, file.samplerate
        samples = np.concatenate(parts)
        if len(samples) != promised:
            kind = FORMATS[media_type_of(data)]
            raise _cut_off(kind, f"{len(samples):,} of {promised:,} samples")
        return Recording(samples, rate)

    @contextlib.contextmanager
    def _file(self, data: bytes) -> Iterator[Any]:
        """A recording whose header is in order, to be read. Raises ItemError."""
        import soundfile

        kind = FORMATS[media_type_of(data)]
        _check_whole(data, kind)
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                self._check_header(file)
                yield file
        except (soundfile.SoundFileError, ValueError, TypeError) as error:
            raise ItemMismatch(
                f"expected a {kind} recording; got {show(data)} that do not decode"
                f" ({type(error).__name__})"
            ) from None

    def _check_header(self, file: Any) -> None:
        if file.format not in {"WAV", "WAVEX", "FLAC", "OGG"}:
            raise ItemMismatch(f"expected a WAV, FLAC or OGG recording; got {show(file.format)}")
        if not MIN_RATE <= file.samplerate <= MAX_RATE:
            raise ItemMismatch(
                f"expected {MIN_RATE:,} to {MAX_RATE:,} samples a second; got {file.samplerate:,}"
            )
        if file.channels > MAX_CHANNELS:
            raise ItemMismatch(f"expected at most {MAX_CHANNELS} channels; got {file.channels}")
        self._check_length(file.frames, file.samplerate)

    def _check_length(self, frames: int, rate: int) -> None:
        if frames > self.max_seconds * rate:
            raise ItemTooLarge(
                f"expected at most {self.max_seconds:g} seconds; got {frames / rate:.2f}"
            )


def media_type_of(data: bytes) -> str:
    """By how the file begins. Raises ItemMismatch."""
    if not data:
        raise ItemMismatch("expected a recording; got an empty file")
    kind = BEGINNINGS.get(data[:4])
    if kind is None or (kind == "audio/wav" and data[8:12] != b"WAVE"):
        raise ItemMismatch(
            f"expected a WAV, FLAC or OGG recording; got {show(data)} that begin as none of them"
        )
    return kind


def _check_whole(data: bytes, kind: str) -> None:
    """libsndfile takes a file that was cut off for a shorter one. Raises ItemMismatch."""
    if kind == "WAV":
        announced = int.from_bytes(data[4:8], "little" if data[:4] == b"RIFF" else "big")
        if len(data) < announced + 8 and announced < UNKNOWN_BYTES:
            raise _cut_off(kind, f"{len(data):,} of {announced + 8:,} bytes")
    elif kind == "OGG":
        page = data[data.rfind(b"OggS") :]  # RFC 3533: flags at 5, lacing values from 27 on
        lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
        last = len(page) > 26 and page[5] & 4
        if not last or len(page) < 27 + page[26] + sum(lacing):
            raise _cut_off(kind, f"{len(data):,} bytes without an end")


def _cut_off(kind: str, got: str) -> ItemMismatch:
    return ItemMismatch(f"expected a whole {kind} recording; got {got}: it is cut off")


def _bytes(item: object) -> bytes | None:
    """The encoded recording, or None where the item is samples. Raises ItemMismatch."""
    if isinstance(item, bytes):
        return item
    if not isinstance(item, dict):
        raise ItemMismatch(f"{WANTED}; got {show(item)}")
    if set(item) not in KEYS:
        raise ItemMismatch(f"{WANTED}; got keys {show_names(item)}")
    if "samples" in item:
        return None
    if not isinstance(item["b64"], str):
        raise ItemMismatch(f"expected base64; got {show(item['b64'])}", field="b64")
    try:
        return base64.b64decode(item["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise ItemMismatch(f"expected base64; got {show(item['b64'])}", field="b64") from None
