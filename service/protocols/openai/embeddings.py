"""``POST /v1/embeddings``: vectors from any model that embeds text."""

import base64
from typing import Any, Literal

import numpy as np
from fastapi import Request, Response
from pydantic import Field

from model_store.answers.vector import VectorAnswer
from model_store.errors import ItemMismatch
from model_store.inputs.text import TextInput, TextParameters
from service.errors import NoSuchVerb
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.protocols.openai.wire import TEXTS, Body, encode, name_of, read_json, read_texts
from service.schema import Ask

VERB = "embed"


class EmbeddingBody(Body, TextParameters):
    """OpenAI's fields, and our ``truncate``. ``dimensions`` may only say what the model has."""

    input: Any = Field(json_schema_extra=TEXTS)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


async def answer(hub: ModelHub, request: Request) -> Response:
    """Raises BadBody, ItemError, ServiceError, StoreError."""
    body, terms = await read_json(request, hub, EmbeddingBody)
    texts: list[object] = [*read_texts(body.input, "input")]
    ask = Ask(body.model, VERB, texts, {"truncate": body.truncate}, terms.deadline,
              terms.priority, terms.body_bytes)  # fmt: skip
    with await hub.find(ask.ref, ask.deadline) as model:
        _check(body, model)
        reply = await hub.answer(ask, model)
        manifest = model.manifest
    timing = {"queue_s": reply.queue_s, "compute_s": reply.compute_s}
    request.scope["modelhub"].update(model=reply.model, version=reply.version, **timing)
    data = [
        {"object": "embedding", "index": place, "embedding": _encoded(output["vector"], body)}
        for place, output in enumerate(reply.outputs)
    ]
    usage = {"prompt_tokens": reply.tokens, "total_tokens": reply.tokens}
    return encode(
        {"object": "list", "data": data, "model": name_of(manifest), "usage": usage}, manifest
    )


def _check(body: EmbeddingBody, model: LoadedModel) -> None:
    """Raises NoSuchVerb, ItemMismatch."""
    verb, name = model.verb(VERB), model.manifest.name
    if not isinstance(verb.input, TextInput) or not isinstance(verb.answer, VectorAnswer):
        raise NoSuchVerb(
            f"{name} embeds {verb.input.kind}, not text: POST /v1/models/{name}/{VERB} asks it"
        )
    if body.dimensions not in (None, verb.answer.size):
        raise ItemMismatch(
            f"expected nothing or the model's own {verb.answer.size}; got {body.dimensions}",
            field="dimensions",
        )


def _encoded(vector: list[float], body: EmbeddingBody) -> list[float] | str:
    """As it is, or as base64 of little-endian float32."""
    if body.encoding_format == "float":
        return vector
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode("ascii")
