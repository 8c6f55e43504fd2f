"""``POST /v1/completions``: text from any model that says text, whole or as it is said."""

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import Field

from model_store.answers.text import SamplingParameters
from model_store.errors import ItemMismatch
from model_store.spec import Parameters
from service.decoder.sequence import TokenScore
from service.event_stream import DONE, EventStream, event
from service.generating import Said, usage_of
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.protocols.openai.wire import (
    TEXTS,
    Body,
    Terms,
    encode,
    name_of,
    read_json,
    read_texts,
    refuse_all_but,
)
from service.schema import Ask

VERB = "generate"
NEUTRAL = {"suffix": "", "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0}
"""What OpenAI's clients may send and this server does not do: only in the sense of nothing."""


class StreamOptions(Parameters):
    """``include_usage``: one more event, which says how many tokens were read and said."""

    include_usage: bool = False


class CompletionBody(Body, SamplingParameters):
    """OpenAI's fields, and as vLLM has them ``top_k``, ``min_p`` and ``repetition_penalty``. What
    is left out is the model's own rule, as in vLLM, but for ``max_tokens``. ``n`` texts of a
    prompt have the seeds ``seed``, ``seed + 1``, …
    """

    prompt: Any = Field(json_schema_extra=TEXTS)
    max_tokens: Annotated[int, Field(ge=1)] | None = 16
    n: Annotated[int, Field(ge=1, le=128)] = 1
    best_of: int | None = None
    echo: bool = False
    suffix: str = ""
    logit_bias: dict[str, float] = Field(default={})
    presence_penalty: float = 0
    frequency_penalty: float = 0
    stream_options: StreamOptions | None = None

    def check(self) -> None:
        """Raises ItemMismatch for what is not offered, or only in other company."""
        refuse_all_but(self, NEUTRAL)
        if self.best_of not in (None, self.n):
            raise ItemMismatch(f"expected as many as n, {self.n}; got {self.best_of}",
                               field="best_of")  # fmt: skip
        if self.n > 1 and self.beams not in (None, 1):
            raise ItemMismatch(f"expected 1 beside n: a search finds one text; got {self.beams}",
                               field="beams")  # fmt: skip
        if self.echo and self.logprobs is not None:
            raise ItemMismatch("expected false beside logprobs: a prompt's own are not offered",
                               field="echo")  # fmt: skip
        if self.stream_options and not self.stream:
            raise ItemMismatch("expected only where stream is true", field="stream_options")

    def ask(self, terms: Terms) -> Ask:
        """Raises ItemMismatch."""
        self.check()
        wish = self.model_dump(include={*SamplingParameters.model_fields}, exclude_unset=True)
        wish |= {"max_tokens": self.max_tokens, "stream": False}
        if self.n > 1:
            wish["beams"] = 1  # the model's own rule may be a search
        prompts: list[object] = [*read_texts(self.prompt, "prompt")]
        return Ask(self.model, VERB, prompts, wish, terms.deadline, terms.priority,
                   terms.body_bytes, self.n)  # fmt: skip


class _Choice:
    """One text in the making, in OpenAI's words."""

    def __init__(self, prompt: object) -> None:
        self.prompt, self.prompt_tokens, self.tokens = str(prompt), 0, 0
        self._begun = False

    def add(self, said: Said, body: CompletionBody) -> dict[str, Any]:
        """What one more piece is to the client."""
        self.prompt_tokens = said.prompt_tokens
        self.tokens += said.tokens
        echoed = self.prompt if body.echo and not self._begun else ""
        self._begun = True
        return {
            "index": said.index, "text": echoed + said.text,
            "logprobs": _logprobs(said.scores) if body.logprobs is not None else None,
            "finish_reason": said.finish_reason,
        }  # fmt: skip


class _Completion:
    """All texts of one request."""

    def __init__(
        self, body: CompletionBody, ask: Ask, model: LoadedModel, request: Request
    ) -> None:
        self.body, self._copies = body, ask.copies
        self.choices = [_Choice(prompt) for prompt in ask.items for _ in range(ask.copies)]
        self._head = {
            "id": f"cmpl-{request.scope['modelhub']['request_id']}", "object": "text_completion",
            "created": int(time.time()), "model": name_of(model.manifest),
        }  # fmt: skip

    def add(self, said: Said) -> dict[str, Any]:
        return self.choices[said.index].add(said, self.body)

    def document(self, choices: list[dict[str, Any]], **more: object) -> dict[str, Any]:
        return {**self._head, "choices": choices, **more}

    @property
    def usage(self) -> dict[str, int]:
        """A prompt counts once, however many texts it has."""
        read = sum(choice.prompt_tokens for choice in self.choices[:: self._copies])
        return usage_of(read, sum(choice.tokens for choice in self.choices))


async def answer(hub: ModelHub, request: Request) -> Response:
    """Raises BadBody, ItemError, ServiceError, StoreError."""
    body, terms = await read_json(request, hub, CompletionBody)
    ask = body.ask(terms)
    if body.stream:
        return EventStream(_events(hub, body, ask, request))
    with await hub.find(ask.ref, ask.deadline) as model:
        completion = _begin(body, ask, model, request)
        whole: list[list[dict[str, Any]]] = [[] for _ in completion.choices]
        async with aclosing(hub.stream(ask, model)) as stream:
            async for said in stream:
                whole[said.index].append(completion.add(said))
        choices = [_joined(parts) for parts in whole]
        return encode(completion.document(choices, usage=completion.usage), model.manifest)


async def _events(
    hub: ModelHub, body: CompletionBody, ask: Ask, request: Request
) -> AsyncGenerator[bytes, None]:
    counted = bool(body.stream_options and body.stream_options.include_usage)
    more = {"usage": None} if counted else {}
    with await hub.find(ask.ref, ask.deadline) as model:
        completion = _begin(body, ask, model, request)
        async with aclosing(hub.stream(ask, model)) as stream:
            async for said in stream:
                choice = completion.add(said)
                if choice["text"] or said.scores or said.finish_reason:
                    yield event(completion.document([choice], **more))
    if counted:
        yield event(completion.document([], usage=completion.usage))
    yield DONE


def _begin(body: CompletionBody, ask: Ask, model: LoadedModel, request: Request) -> _Completion:
    """Raises NoSuchVerb."""
    model.must_say(VERB)
    manifest = model.manifest
    request.scope["modelhub"].update(model=manifest.name, version=manifest.version)
    return _Completion(body, ask, model, request)


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """A choice from its pieces."""
    logprobs = [part["logprobs"] for part in parts]
    return {
        **parts[-1],
        "text": "".join([part["text"] for part in parts]),
        "logprobs": logprobs[0] and {
            key: [value for part in logprobs for value in part[key]] for key in logprobs[0]
        },
    }  # fmt: skip


def _logprobs(scores: Iterable[TokenScore]) -> dict[str, list[Any]]:
    """A token is among its own runners-up, as with vLLM."""
    return {
        "tokens": [one.text for one in scores],
        "token_logprobs": [one.logprob for one in scores],
        "top_logprobs": [{**dict(one.top), one.text: one.logprob} for one in scores],
        "text_offset": [one.offset for one in scores],
    }
