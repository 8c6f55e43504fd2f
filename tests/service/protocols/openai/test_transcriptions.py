"""Transcripts by the OpenAI client, over a real socket."""

from typing import Any

import openai
import pytest

from tests.service.protocols.conftest import Client
from tests.service.server import Server
from tests.service.sounds import recording

SAID = recording(0, 0.5, 0.5, 0.98)
"""What ``tones`` writes down as low and high."""


def test_recording_is_written_down(client: Client) -> None:
    answer = client.audio.transcriptions.create(model="tones", file=("a.wav", SAID))
    assert answer.text == "low high"


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_file_is_read_by_what_is_in_it(client: Client, kind: str) -> None:
    file = ("a.mp3", recording(0, 0.5, 0.5, 0.98, rate=16_000, kind=kind, channels=2), "audio/mpeg")
    answer = client.audio.transcriptions.create(model="tones@1", file=file, language="en")
    assert answer.text == "low high"


def test_plain_text(client: Client) -> None:
    answer: Any = client.audio.transcriptions.create(
        model="tones", file=("a.wav", SAID), response_format="text", temperature=0
    )
    assert str(answer) == "low high\n"


def test_verbose_answer_has_words_with_times(client: Client) -> None:
    answer = client.audio.transcriptions.create(
        model="tones",
        file=("a.wav", SAID),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert (answer.text, answer.duration, answer.language) == ("low high", 0.4, "en")
    assert answer.words
    assert [(w.word, w.start, w.end) for w in answer.words] == [
        ("low", 0.1, 0.3),
        ("high", 0.3, 0.4),
    ]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"language": "es"}, "language", "expected 'en', the model's own; got 'es'"),
        ({"temperature": 0.5}, "temperature", "expected nothing or 0; got 0.5"),
        ({"temperature": "warm"}, "temperature", "got 'warm'"),
        ({"response_format": "srt"}, "response_format", "'json', 'text' or 'verbose_json'"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities", "'verbose_json' with"),
        (
            {"timestamp_granularities": ["word", "segment"], "response_format": "verbose_json"},
            "timestamp_granularities.1",
            "'word'; got 'segment'",
        ),
        ({"file": ("a.wav", SAID[:-10])}, None, "it is cut off"),
        ({"file": ("a.wav", b"")}, None, "got an empty file"),
        ({"file": ("a.mp3", b"ID3" * 20)}, None, "expected a WAV, FLAC or OGG recording"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_field(
    client: Client, fields: dict[str, Any], param: str | None, words: str
) -> None:
    given: dict[str, Any] = {"model": "tones", "file": ("a.wav", SAID), **fields}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.audio.transcriptions.create(**given)
    assert caught.value.param == param
    assert words in caught.value.message


def test_recording_over_the_limit_is_too_large(client: Client) -> None:
    with pytest.raises(openai.APIStatusError, match=r"at most 2 seconds; got 2\.50") as caught:
        client.audio.transcriptions.create(model="tones", file=("a.wav", recording(*[0.5] * 25)))
    assert caught.value.status_code == 413


def test_call_is_on_the_openapi_page_with_its_fields(talk: Server) -> None:
    page = talk.client.get("/openapi.json").json()
    body = page["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]
    fields = body["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"file", "model", "language", "response_format", "temperature"} <= set(fields)
    assert "timestamp_granularities" in fields
