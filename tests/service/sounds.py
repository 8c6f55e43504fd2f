"""Recordings that the bundle ``tones`` understands."""

import base64
import io

import numpy as np
import soundfile


def recording(*levels: float, rate: int = 8_000, kind: str = "WAV", channels: int = 1) -> bytes:
    """A tenth of a second of each level."""
    samples = np.repeat(np.array(levels), rate // 10)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([samples] * channels, axis=1), rate, format=kind)
    return buffer.getvalue()


def item(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}
