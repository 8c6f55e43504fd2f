"""``POST /v1/audio/transcriptions``: the words of a recording, from any model that hears them."""

from typing import Any, Literal

from fastapi import Request, Response
from pydantic import Field

from model_store.answers.transcript import TranscriptAnswer
from model_store.errors import ItemMismatch
from model_store.inputs.audio import AudioInput
from model_store.spec import show
from service.body import Part, read_body, read_form
from service.errors import NoSuchVerb, UnreadableMedia
from service.hub import ModelHub
from service.protocols.openai.wire import Body, encode, read_fields, read_terms, refuse_all_but
from service.schema import Ask

VERB = "predict"


class TranscriptionBody(Body):
    """The fields beside ``file``. What is said is the likeliest, so the temperature is 0."""

    response_format: Literal["json", "text", "verbose_json"] = "json"
    language: str = Field(default="", description="ISO 639-1; must be the model's own")
    temperature: float = 0
    timestamp_granularities: list[Literal["word"]] = Field(
        default=[], description="with verbose_json, which has the words anyway"
    )


async def answer(hub: ModelHub, request: Request) -> Response:
    """Raises BadBody, BodyTooLarge, UnreadableMedia, ItemError, ServiceError, StoreError."""
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "multipart/form-data":
        raise UnreadableMedia(f"expected Content-Type multipart/form-data; got {media_type!r}")
    terms = read_terms(request, hub)
    content = await read_body(request, hub.settings.max_body_bytes)
    body, file = _read(await read_form(request.headers, content, max_files=1))
    with await hub.find(body.model, terms.deadline) as model:
        verb, manifest = model.verb(VERB), model.manifest
        takes, gives = verb.input, verb.answer
        if not (isinstance(takes, AudioInput) and isinstance(gives, TranscriptAnswer)):
            raise NoSuchVerb(
                f"{manifest.name} makes {gives.kind} of {takes.kind}, not a transcript of audio"
            )
        _check(body, gives.language)
        items = takes.items(file.content, file.media_type)
        ask = Ask(body.model, VERB, items, {}, terms.deadline, terms.priority, len(content))
        reply = await hub.answer(ask, model)
    request.scope["modelhub"].update(model=reply.model, version=reply.version)
    found = reply.outputs[0]
    if body.response_format == "text":
        version = {"X-Model-Version": str(manifest.version)}
        return Response(f"{found['text']}\n", headers=version, media_type="text/plain")
    if body.response_format == "json":
        return encode({"text": found["text"]}, manifest)
    seconds = takes.seconds(file.content)
    return encode(_verbose(found, seconds, gives.language), manifest)


def _check(body: TranscriptionBody, language: str) -> None:
    """Raises ItemMismatch for wishes that would do nothing."""
    refuse_all_but(body, {"temperature": 0})
    if body.timestamp_granularities and body.response_format != "verbose_json":
        raise ItemMismatch(
            f"expected response_format 'verbose_json' with it; got {show(body.response_format)}",
            field="timestamp_granularities",
        )
    if body.language and body.language != language:
        own = f"{language!r}, the model's own" if language else "nothing: the model names none"
        raise ItemMismatch(f"expected {own}; got {show(body.language)}", field="language")


def _verbose(found: dict[str, Any], seconds: float, language: str) -> dict[str, Any]:
    return {"task": "transcribe", "language": language, "duration": round(seconds, 3), **found}


def _read(parts: list[Part]) -> tuple[TranscriptionBody, Part]:
    """A name that ends in ``[]`` may be there several times. Raises ItemMismatch."""
    files = [part for part in parts if part.name == "file" and part.filename is not None]
    fields: dict[str, object] = {}
    lists: dict[str, list[str]] = {}
    for part in parts:
        if part.name in fields or (part.name == "file" and part.filename is None):
            raise ItemMismatch(f"expected one file and each field once; got {show(part.name)}",
                               field=part.name[:40])  # fmt: skip
        text = part.content.decode(errors="replace") if part.name != "file" else ""
        if part.name.endswith("[]"):
            lists.setdefault(part.name.removesuffix("[]"), []).append(text)
        elif part.name != "file":
            fields[part.name] = text
    body = read_fields(fields | lists, TranscriptionBody)
    if not files:
        raise ItemMismatch("expected a file; got none", field="file")
    return body, files[0]
