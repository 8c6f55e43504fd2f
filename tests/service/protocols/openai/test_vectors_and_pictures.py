"""Embeddings, pictures, transcripts and the listing by the OpenAI client, over a real socket."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.service.protocols.conftest import Client
from tests.service.server import Server
from tests.service.talkers import LETTERS, VOCABULARY


def count(text: str) -> list[float]:
    return [float(text.count(letter)) for letter in LETTERS] + [0.0, 0.0]


# --- embeddings --------------------------------------------------------------------------------


def test_embeddings_come_in_order_with_the_tokens_that_were_read(client: Client) -> None:
    answer = client.embeddings.create(model="letters", input=["abba", "zoo"])
    assert [item.embedding for item in answer.data] == [count("abba"), count("zoo")]
    assert [item.index for item in answer.data] == [0, 1]
    assert (answer.object, answer.model) == ("list", "letters@1")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7)


def test_one_text_is_one_embedding(client: Client) -> None:
    answer = client.embeddings.create(model="letters@1", input="cab", encoding_format="float")
    assert [item.embedding for item in answer.data] == [count("cab")]


def test_base64_is_little_endian_float32(talk: Server) -> None:
    body = {"model": "letters", "input": "cab", "encoding_format": "base64"}
    item = talk.client.post("/v1/embeddings", json=body).json()["data"][0]
    found = np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
    assert found.tolist() == count("cab")


def test_dimensions_may_only_be_the_models_own(client: Client) -> None:
    own = len(VOCABULARY)
    answer = client.embeddings.create(model="letters", input="a", dimensions=own)
    assert len(answer.data[0].embedding) == own
    with pytest.raises(openai.UnprocessableEntityError, match=f"own {own}; got 8") as caught:
        client.embeddings.create(model="letters", input="a", dimensions=8)
    assert caught.value.param == "dimensions"


def test_text_over_the_limit_is_refused_by_its_place_or_cut(client: Client) -> None:
    texts = ["a", "a" * 33]
    with pytest.raises(openai.APIStatusError, match=r"input\[1\]: expected at most 32") as caught:
        client.embeddings.create(model="letters", input=texts)
    assert (caught.value.status_code, caught.value.param) == (413, "input")
    cut = client.embeddings.create(model="letters", input=texts, extra_body={"truncate": True})
    assert cut.data[1].embedding == count("a" * 32)


def test_model_that_embeds_pictures_says_where_to_ask(client: Client) -> None:
    with pytest.raises(openai.ConflictError, match="image, not text: POST /v1/models/shades/embed"):
        client.embeddings.create(model="shades", input="a")


# --- pictures ----------------------------------------------------------------------------------


def pictures(client: Client, **fields: object) -> list[Any]:
    given = {"model": "stamps", "prompt": "a", **fields}
    answer = client.images.generate(**given)  # type: ignore[call-overload]
    return list(answer.data)


def test_pictures_are_pngs_of_the_label_the_prompt_names(client: Client) -> None:
    dark = pictures(client, n=2, extra_body={"seed": 5})
    bright = pictures(client, prompt="b", n=2, extra_body={"seed": 5})
    sizes, means = [], []
    for item in (*dark, *bright):
        image = Image.open(io.BytesIO(base64.b64decode(item.b64_json)))
        sizes.append(image.size)
        means.append(np.asarray(image).mean())
    assert sizes == [(4, 2)] * 4
    assert min(means[2:]) > max(means[:2]) + 50
    assert [item.seed for item in dark] == [5, 6]
    assert [item.label for item in bright] == ["b", "b"]


def test_same_seed_draws_the_same(client: Client) -> None:
    seeded = {"extra_body": {"seed": 9}}
    first, second = pictures(client, **seeded), pictures(client, **seeded)
    assert first[0].b64_json == second[0].b64_json != pictures(client)[0].b64_json


def test_label_may_stand_in_the_extra_body_and_no_prompt_draws_any(client: Client) -> None:
    assert pictures(client, prompt="", extra_body={"label": "b"})[0].label == "b"
    labels = {item.label for item in pictures(client, prompt="", n=64, extra_body={"seed": 0})}
    assert labels == {"a", "b"}


def test_prompt_names_attributes_and_fields_may_too(client: Client) -> None:
    [drop] = pictures(client, model="inks", prompt="bright, blue ink", extra_body={"seed": 5})
    assert drop.attributes == {"ink": "blue", "tone": "bright"}
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(drop.b64_json))))
    assert pixels.shape == (1, 1, 3)
    assert abs(pixels[0, 0].astype(int) - [0, 0, 200]).max() < 10
    by_field = {"seed": 5, "ink": "blue", "tone": "bright"}
    [same] = pictures(client, model="inks", prompt="", extra_body=by_field)
    assert same.b64_json == drop.b64_json


@pytest.mark.parametrize(
    ("prompt", "extra", "param", "words"),
    [
        ("green", {}, "prompt", "expected some of these apart by commas: ink: red, blue; tone"),
        ("red, blue", {}, "prompt", "expected one ink; got 'red' and 'blue'"),
        ("red", {"ink": "blue"}, "ink", "expected the prompt again, 'red', or nothing; got 'blue'"),
        ("", {"ink": "green"}, "ink", "'red' or 'blue'; got 'green'"),
        ("", {"paper": "white"}, "paper", "no such field here; expected some of ['ink'"),
    ],
)
def test_attributes_that_there_are_not_are_refused_by_their_field(
    client: Client, prompt: str, extra: dict[str, object], param: str, words: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        pictures(client, model="inks", prompt=prompt, extra_body=extra)
    assert caught.value.param == param
    assert words in caught.value.message


@pytest.mark.parametrize("size", ["auto", "4x2"])
def test_size_may_be_the_models_own(client: Client, size: str) -> None:
    assert len(pictures(client, size=size, response_format="b64_json")) == 1


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"size": "1024x1024"}, "size", "expected auto or 4x2, as this model draws"),
        ({"prompt": "a cat"}, "prompt", "expected one of ['a', 'b'] or nothing; got 'a cat'"),
        ({"extra_body": {"label": "b"}}, "label", "expected the prompt again, 'a'"),
        ({"response_format": "url"}, "response_format", "'b64_json'; got 'url'"),
        ({"n": 0}, "n", "greater than or equal to 1; got 0"),
        ({"extra_body": {"seed": -1}}, "seed", "greater than or equal to 0; got -1"),
        ({"style": "vivid"}, "style", "no such field here"),
        ({"model": "alphabet"}, None, "alphabet makes text from text, not pictures"),
        ({"model": "letters"}, None, "letters cannot generate; it can embed"),
    ],
)
def test_wish_for_another_picture_is_refused_by_its_field(
    client: Client, fields: dict[str, object], param: str | None, words: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        pictures(client, **fields)
    assert caught.value.status_code == (422 if param else 409)
    assert caught.value.param == param
    assert words in caught.value.message


# --- transcripts and the listing ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("words", "words makes classes of text, not a transcript of audio"),
        ("alphabet", "alphabet cannot predict; it can generate"),
    ],
)
def test_model_that_hears_nothing_is_said_so(client: Client, model: str, words: str) -> None:
    with pytest.raises(openai.ConflictError, match=words):
        client.audio.transcriptions.create(model=model, file=("a.wav", b"RIFF"))


def test_transcription_needs_a_file_and_known_fields(talk: Server, client: Client) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'nobody'"):
        client.audio.transcriptions.create(model="nobody", file=("a.wav", b"RIFF"))
    with pytest.raises(openai.UnprocessableEntityError, match="no such field") as caught:
        client.audio.transcriptions.create(model="words", file=("a", b"x"), prompt="hm")
    assert caught.value.param == "prompt"
    file = {"file": ("a.wav", b"RIFF")}
    assert _param(talk.client.post("/v1/audio/transcriptions", files=file)) == (422, "model")
    empty = {"model": (None, "words")}
    assert _param(talk.client.post("/v1/audio/transcriptions", files=empty)) == (422, "file")
    model = ("model", (None, b"words"))
    many: list[Any] = [("file", ("a.wav", b"RIFF")), model, model]
    assert _param(talk.client.post("/v1/audio/transcriptions", files=many)) == (422, "model")
    plain = talk.client.post("/v1/audio/transcriptions", json={"model": "words"})
    assert _param(plain) == (415, None)


def _param(response: httpx.Response) -> tuple[int, str | None]:
    return response.status_code, response.json()["error"]["param"]


def test_listing_and_a_model_are_what_the_client_expects(client: Client) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"alphabet", "letters", "stamps"} <= set(listed)
    one = client.models.retrieve("alphabet@1")
    assert (one.id, one.object) == ("alphabet", "model")
    assert one.created == listed["alphabet"].created > 0
    assert isinstance(one.owned_by, str)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
