"""Recordings over the native protocol: each way to send one, company, and what is refused."""

from typing import Any

import numpy as np
import pytest

from tests.service.server import Server
from tests.service.sounds import item, recording

PATH = "/v1/models/tones/predict"


def transcript(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    [output] = response.json()["outputs"]
    return dict(output)


@pytest.mark.parametrize(
    "given",
    [
        {"json": {"inputs": [item(recording(0, 0.5, 0.5, 0.98))]}},
        {"content": recording(0, 0.5, 0.5, 0.98), "headers": {"Content-Type": "audio/wav"}},
        {
            "content": recording(0, 0.5, 0.5, 0.98, kind="FLAC", channels=2),
            "headers": {"Content-Type": "audio/flac"},
        },
        {"files": {"file": ("a.wav", recording(0, 0.5, 0.5, 0.98), "audio/x-wav")}},
    ],
    ids=["json", "raw", "raw flac, stereo", "form"],
)
def test_recording_is_written_down_with_times(server: Server, given: dict[str, Any]) -> None:
    answer = transcript(server.client.post(PATH, **given))
    assert answer["text"] == "low high"
    [low, high] = answer["words"]
    assert (low["word"], low["start"], low["end"]) == ("low", 0.1, 0.3)
    assert (high["start"], high["end"]) == (0.3, 0.4)
    assert 0.99 < low["score"] <= 1


def test_samples_are_resampled_from_their_rate(server: Server) -> None:
    samples = {"samples": [0.5] * 2_205 + [0.0] * 2_205, "sample_rate": 22_050}
    answer = transcript(server.client.post(PATH, json={"inputs": [samples]}))
    assert answer["text"] == "low"


def test_transcript_does_not_depend_on_the_company(server: Server) -> None:
    """Of any length: shorter ones are padded, to two lengths."""
    rng = np.random.default_rng(0)
    recordings = [
        recording(*rng.choice([0, 0.3, 0.6, 0.9], size)) for size in (1, 3, 5, 6, 11, 17, 20)
    ]
    items = [item(data) for data in recordings]
    together = server.client.post(PATH, json={"inputs": items}).json()["outputs"]
    alone = [transcript(server.client.post(PATH, json={"inputs": [one]})) for one in items]
    for one, other in zip(together, alone, strict=True):
        assert one["text"] == other["text"]
        for word, same in zip(one["words"], other["words"], strict=True):
            assert word == pytest.approx(same)
    assert len({answer["text"] for answer in alone}) > 3


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        (recording(*[0.5] * 21), 413, "at most 2 seconds; got 2.10"),
        (recording(0.5)[:-10], 422, "it is cut off"),
        (b"RIFFxxxxWAVE", 422, "cut off|do not decode"),
        (b"", 422, "got an empty file"),
    ],
)
def test_item_at_fault_is_named_by_its_place(
    server: Server, bad: bytes, status: int, words: str
) -> None:
    items = [item(recording(0.5)), item(bad)]
    response = server.client.post(PATH, json={"inputs": items})
    assert response.status_code == status
    assert response.json()["index"] == 1
    assert any(one in response.json()["detail"] for one in words.split("|"))


def test_recording_of_another_media_type_is_refused(server: Server) -> None:
    response = server.client.post(PATH, content=b"ID3", headers={"Content-Type": "audio/mpeg"})
    assert response.status_code == 415
    assert "audio/wav, audio/flac, audio/ogg" in response.json()["detail"]
