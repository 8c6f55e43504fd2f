"""``POST /v1/audio/transcriptions``: the words of a recording, from any model that hears them."""

from typing import Literal

from fastapi import Request, Response

from model_store.errors import ItemMismatch
from model_store.spec import show
from service.body import Part, read_body, read_form
from service.errors import NoSuchVerb, UnreadableMedia
from service.hub import ModelHub
from service.protocols.openai.wire import Body, encode, read_fields, read_terms
from service.schema import Ask

VERB = "predict"


class TranscriptionBody(Body):
    """The fields beside ``file``."""

    response_format: Literal["json", "text"] = "json"


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
        # By name: a kind is known here from the day that a model can have it.
        kinds = str(verb.input.kind), str(verb.answer.kind)
        if kinds != ("audio", "transcript"):
            raise NoSuchVerb(
                f"{manifest.name} makes {kinds[1]} of {kinds[0]}, not a transcript of audio"
            )
        items = verb.input.items(file.content, file.media_type)
        ask = Ask(body.model, VERB, items, {}, terms.deadline, terms.priority, len(content))
        reply = await hub.answer(ask, model)
    request.scope["modelhub"].update(model=reply.model, version=reply.version)
    text = reply.outputs[0]["text"]
    if body.response_format == "text":
        return Response(f"{text}\n", media_type="text/plain")
    return encode({"text": text}, manifest)


def _read(parts: list[Part]) -> tuple[TranscriptionBody, Part]:
    """Raises ItemMismatch."""
    files = [part for part in parts if part.name == "file" and part.filename is not None]
    fields: dict[str, object] = {}
    for part in parts:
        if part.name in fields or (part.name == "file" and part.filename is None):
            raise ItemMismatch(f"expected one file and each field once; got {show(part.name)}",
                               field=part.name[:40])  # fmt: skip
        if part.name != "file":
            fields[part.name] = part.content.decode(errors="replace")
    body = read_fields(fields, TranscriptionBody)
    if not files:
        raise ItemMismatch("expected a file; got none", field="file")
    return body, files[0]
