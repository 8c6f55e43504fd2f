"""The routes of OpenAI's API in the app, and what its OpenAPI page says of them."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from model_store.inputs.none import NoneInput
from model_store.inputs.text import TextInput
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.protocols.openai import completions, embeddings, images, transcriptions
from service.protocols.openai.completions import CompletionBody
from service.protocols.openai.embeddings import EmbeddingBody
from service.protocols.openai.images import ImageBody
from service.protocols.openai.transcriptions import TranscriptionBody
from service.protocols.openai.wire import CALLS, PREFIX, Body

Answer = Callable[[ModelHub, Request], Awaitable[Response]]
ANSWERS: tuple[Answer, ...] = (
    completions.answer, embeddings.answer, images.answer, transcriptions.answer
)  # fmt: skip
BODIES: tuple[type[Body], ...] = (CompletionBody, EmbeddingBody, ImageBody, TranscriptionBody)
WORDS = ("Continue a text", "Vectors of texts", "Draw pictures", "Write down what is said")


def router(hub: ModelHub) -> APIRouter:
    """Every call of OpenAI's API that the native protocol does not have."""
    routes = APIRouter(prefix=PREFIX, tags=["openai"], responses={"default": _ERROR_RESPONSE})
    for path, answer, words in zip(CALLS, ANSWERS, WORDS, strict=True):
        _add(routes, hub, path, answer, words)
    return routes


def _add(routes: APIRouter, hub: ModelHub, path: str, answer: Answer, words: str) -> None:
    async def handler(request: Request) -> Response:
        return await answer(hub, request)

    name = path.strip("/").replace("/", "_")
    routes.add_api_route(path, handler, methods=["POST"], name=name, operation_id=name,
                         summary=words, response_model=None)  # fmt: skip


# --- OpenAPI -----------------------------------------------------------------------------------


def document(schema: dict[str, Any], hub: ModelHub) -> None:
    """Put bodies, and an example of every loaded model that can, into the schema."""
    shared = schema.setdefault("components", {}).setdefault("schemas", {})
    for path, kind in zip(CALLS, BODIES, strict=True):
        body = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        shared.update(body.pop("$defs", {}))
        content: dict[str, Any] = {"schema": body}
        media_type = "application/json"
        if kind is TranscriptionBody:
            media_type = "multipart/form-data"
            body["properties"]["file"] = {"type": "string", "format": "binary"}
            body["required"].append("file")
        else:
            content["examples"] = {
                model.manifest.name: {"value": example}
                for model in hub.loaded()
                if (example := _example(kind, model))
            }
        operation = schema["paths"][PREFIX + path]["post"]
        operation["requestBody"] = {"required": True, "content": {media_type: content}}
        operation["responses"]["200"] = _ANSWERS[kind]


def _example(kind: type[Body], model: LoadedModel) -> dict[str, Any] | None:
    """A body that works, where the model can do what the call is for."""
    name, verbs = model.manifest.name, model.manifest.verbs
    if kind is CompletionBody and "generate" in verbs and model.says("generate"):
        return {"model": name, "prompt": verbs["generate"].example, "max_tokens": 16}
    if kind is EmbeddingBody and "embed" in verbs and isinstance(verbs["embed"].input, TextInput):
        return {"model": name, "input": verbs["embed"].example}
    if kind is ImageBody and "generate" in verbs and isinstance(verbs["generate"].input, NoneInput):
        labels = verbs["generate"].input.labels
        return {"model": name, "prompt": labels[0] if labels else "", "seed": 0}
    return None


def _answers(words: str, required: tuple[str, ...], other: str | None = None) -> dict[str, Any]:
    """What a call answers: JSON, or else what ``other`` names."""
    content = {"application/json": {"schema": {"type": "object", "required": [*required]}}}
    return {"description": words, "content": content | ({other: {}} if other else {})}


_ANSWERS: dict[type[Body], dict[str, Any]] = {
    CompletionBody: _answers(
        "the texts, or an event for each piece of them", ("id", "model", "choices", "usage"),
        "text/event-stream",
    ),
    EmbeddingBody: _answers("a vector for each text, in order", ("data", "model", "usage")),
    ImageBody: _answers("the pictures, as base64 of PNGs", ("created", "data")),
    TranscriptionBody: _answers("what is said", ("text",), "text/plain"),
}  # fmt: skip
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["message", "type", "param", "code"],
    "properties": {
        "message": {"type": "string"}, "type": {"type": "string"},
        "param": {"type": ["string", "null"]}, "code": {"type": "string"},
    },
}  # fmt: skip
_ERROR_RESPONSE: dict[str, Any] = {
    "description": "an error",
    "content": {"application/json": {"schema": {
        "type": "object", "required": ["error"], "properties": {"error": _ERROR},
    }}},
}  # fmt: skip
