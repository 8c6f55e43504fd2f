"""``POST /v1/completions`` by the OpenAI client, unmodified, over a real socket."""

import time
from typing import Any

import openai
import pytest
from openai.types import Completion, CompletionChoice

from tests.service.protocols.conftest import LONG, Client, await_silence
from tests.service.server import Server
from tests.service.talkers import after


def complete(client: Client, prompt: str | list[str] = "abc", **fields: Any) -> Completion:
    given = {"model": "alphabet", "prompt": prompt, "temperature": 0, "max_tokens": 5, **fields}
    found: Completion = client.completions.create(**given)
    return found


def texts(completion: Completion) -> list[str]:
    return [choice.text for choice in completion.choices]


def stream(client: Client, prompt: str | list[str] = "abc", **fields: Any) -> list[Completion]:
    return list(complete(client, prompt, stream=True, **fields))  # type: ignore[arg-type]


def joined(chunks: list[Completion], index: int) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return "".join([choice.text for choice in choices if choice.index == index])


# --- whole -------------------------------------------------------------------------------------


def test_completion_has_text_reason_usage_and_the_version_that_said_it(client: Client) -> None:
    answer = complete(client)
    assert texts(answer) == ["defgh"]
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is None
    assert (answer.object, answer.model) == ("text_completion", "alphabet@1")
    assert answer.id.startswith("cmpl-")
    assert abs(answer.created - time.time()) < 60
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 5)
    assert answer.usage.total_tokens == 8


def test_sixteen_tokens_are_said_where_nobody_says_how_many(client: Client) -> None:
    answer = client.completions.create(model="alphabet", prompt="a", temperature=0)
    assert texts(answer) == [after("a", 16)]


def test_end_of_the_model_and_stop_string_both_are_stop(client: Client) -> None:
    ended, stopped = complete(client, "abc?"), complete(client, stop=["zz", "fg"])
    assert (texts(ended), ended.choices[0].finish_reason) == ([""], "stop")
    assert (texts(stopped), stopped.choices[0].finish_reason) == (["de"], "stop")
    assert texts(complete(client, stop="e")) == ["d"]


def test_several_prompts_are_answered_in_order(client: Client) -> None:
    answer = complete(client, ["abc", "x", "mn"])
    assert texts(answer) == ["defgh", "yzabc", "opqrs"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage
    assert answer.usage.prompt_tokens == 6


def test_echo_puts_the_prompt_before_the_text(client: Client) -> None:
    assert texts(complete(client, ["abc", "x"], echo=True)) == ["abcdefgh", "xyzabc"]
    assert joined(stream(client, "abc", echo=True), 0) == "abcdefgh"


def test_n_texts_have_seeds_that_follow_one_another(client: Client) -> None:
    hot: dict[str, Any] = {"temperature": 6.0, "max_tokens": 12}
    together = complete(client, ["abc", "x"], n=3, seed=40, **hot)
    alone = [complete(client, prompt, seed=40 + copy, **hot)
             for prompt in ("abc", "x") for copy in range(3)]  # fmt: skip
    assert texts(together) == [texts(one)[0] for one in alone]
    assert len(set(texts(together)[:3])) == 3
    assert together.usage
    assert together.usage.prompt_tokens == 4
    assert complete(client, n=2, best_of=2).choices[1].index == 1


def test_same_seed_says_the_same_and_none_says_something_new(client: Client) -> None:
    hot: dict[str, Any] = {"temperature": 6.0, "max_tokens": 30}
    assert texts(complete(client, seed=7, **hot)) == texts(complete(client, seed=7, **hot))
    assert texts(complete(client, **hot)) != texts(complete(client, **hot))


def test_fields_of_vllm_are_taken_in_the_extra_body(client: Client) -> None:
    hot: dict[str, Any] = {"temperature": 50.0, "max_tokens": 30, "seed": 1}
    free = texts(complete(client, **hot))[0]
    assert free != after("abc", 30)
    for narrow in ({"top_k": 1}, {"min_p": 0.999}):
        assert texts(complete(client, extra_body=narrow, **hot)) == [after("abc", 30)]
    assert texts(complete(client, top_p=0.01, **hot))[0] == after("abc", 30)
    shy = complete(client, max_tokens=40, extra_body={"repetition_penalty": 10.0})
    assert texts(shy)[0] != after("abc", 40)


def test_logprobs_have_openais_shape(client: Client) -> None:
    found = complete(client, logprobs=2, max_tokens=3).choices[0].logprobs
    assert found
    assert found.tokens == ["d", "e", "f"]
    assert found.text_offset == [0, 1, 2]
    assert found.token_logprobs
    assert found.top_logprobs
    for token, logprob, top in zip(
        found.tokens, found.token_logprobs, found.top_logprobs, strict=True
    ):
        assert -0.05 < logprob < 0
        assert len(top) == 2
        assert top[token] == logprob == max(top.values())
    none = complete(client, logprobs=0, max_tokens=1).choices[0].logprobs
    assert none
    assert none.top_logprobs == [{"d": (none.token_logprobs or [0])[0]}]


def test_offsets_count_what_a_stop_string_holds_back(client: Client) -> None:
    found = complete(client, logprobs=0, stop=["fgx"]).choices[0]
    assert found.text == "defgh"
    assert found.logprobs
    assert found.logprobs.text_offset == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ref", ["alphabet", "alphabet@1"])
def test_model_is_any_reference(client: Client, ref: str) -> None:
    assert texts(complete(client, model=ref)) == ["defgh"]


def test_null_counts_as_absent_and_user_is_not_looked_at(talk: Server) -> None:
    body = {"model": "alphabet", "prompt": "a", "temperature": 0, "max_tokens": 2, "stop": None,
            "logit_bias": None, "suffix": None, "best_of": None, "user": "me"}  # fmt: skip
    answer = talk.client.post("/v1/completions", json=body)
    assert answer.json()["choices"][0]["text"] == "bc"
    assert answer.headers["x-model-version"] == "1"


# --- streamed ----------------------------------------------------------------------------------


def test_stream_says_the_same_as_the_whole(client: Client) -> None:
    chunks = stream(client, max_tokens=30)
    assert joined(chunks, 0) == after("abc", 30)
    assert len(chunks) == 30
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 29 + ["length"]
    assert len({(chunk.id, chunk.object, chunk.model, chunk.created) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_of_several_texts_names_each_ones_place(client: Client) -> None:
    chunks = stream(client, ["abc", "x"], n=2, seed=3, max_tokens=9)
    assert [joined(chunks, place) for place in range(4)] == [after("abc", 9)] * 2 + [
        after("x", 9)
    ] * 2
    ends = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(ends) == [0, 1, 2, 3]


def test_usage_is_the_last_event_where_it_is_asked_for(client: Client) -> None:
    *chunks, last = stream(client, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 5)
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_never_shows_half_a_stop_string(client: Client) -> None:
    chunks = stream(client, max_tokens=20, stop=["ghi"])
    assert joined(chunks, 0) == "def"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_stream_carries_logprobs_too(client: Client) -> None:
    choices: list[CompletionChoice] = [
        chunk.choices[0] for chunk in stream(client, logprobs=1, max_tokens=3)
    ]
    found = [choice.logprobs for choice in choices if choice.logprobs]
    assert [one.tokens for one in found] == [["d"], ["e"], ["f"]]
    assert [one.text_offset for one in found] == [[0], [1], [2]]


def test_stream_as_bytes_is_what_openais_would_be(talk: Server) -> None:
    body = {"model": "alphabet", "prompt": "a", "temperature": 0, "max_tokens": 2, "stream": True}
    answer = talk.client.post("/v1/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-model-version"] == "1"
    events = answer.text.split("\n\n")
    assert all(event.startswith('data: {"id":"cmpl-') for event in events[:2])
    assert events[2:] == ["data: [DONE]", ""]


# --- leaving -----------------------------------------------------------------------------------


def test_stream_that_is_closed_frees_its_sequence(talk: Server, client: Client) -> None:
    said = talk.metric("modelhub_sequences_finished_total", model="alphabet", reason="length")
    chunks = client.completions.create(
        model="alphabet", prompt="a", temperature=0, max_tokens=LONG, stream=True
    )
    assert next(iter(chunks)).choices[0].text == "b"
    assert talk.metric("modelhub_sequences_running", model="alphabet") == 1
    chunks.close()
    await_silence(talk)
    now = talk.metric("modelhub_sequences_finished_total", model="alphabet", reason="length")
    assert now == said  # it was given up, not said to its end


def test_deadline_in_a_stream_is_an_error_the_client_raises(client: Client) -> None:
    chunks = client.completions.create(
        model="alphabet", prompt="a", temperature=0, max_tokens=LONG, stream=True,
        extra_headers={"X-Timeout-Ms": "300"},
    )  # fmt: skip
    with pytest.raises(openai.APIError, match="deadline passed") as caught:
        list(chunks)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "deadline_exceeded"
