"""The native protocol, ``/v1``: typed items in, typed answers out. Errors are RFC 9457 problems."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal, get_args

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from model_store.errors import NotFound
from model_store.inputs.none import NoneInput
from model_store.manifest import Category, Family, Verb, VerbName
from model_store.spec import show
from service.body import (
    MAX_TIMEOUT_MS,
    Part,
    read_body,
    read_form,
    read_priority,
    read_timeout_ms,
)
from service.errors import BadBody, UnreadableMedia
from service.event_stream import DONE, EventStream, event
from service.generating import usage_of
from service.hub import ModelHub
from service.schema import Ask

PREFIX = "/v1"
VERBS: tuple[VerbName, ...] = get_args(VerbName)
BODY_FIELDS = ("inputs", "parameters", "stream")
State = Literal["ready", "loading", "unloaded", "failed"]


def encode(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Any JSON answer. A float that is not finite becomes null."""
    return Response(
        orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, "application/json"
    )


def encode_error(
    status: int, title: str, detail: str, *, index: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """RFC 9457. ``type`` stays about:blank: the status says what a client may act on."""
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if index is not None:
        problem["index"] = index
    return Response(orjson.dumps(problem), status, headers, "application/problem+json")


# --- requests ----------------------------------------------------------------------------------


async def decode(
    request: Request, hub: ModelHub, ref: str, name: VerbName, verb: Verb, deadline: float
) -> Ask:
    """HTTP → Ask. Raises BadBody, BodyTooLarge, UnreadableMedia, ItemError."""
    body = await read_body(request, hub.settings.max_body_bytes)
    media_type, _, _ = request.headers.get("content-type", "application/json").partition(";")
    media_type = media_type.strip().lower()
    parameters = _query(request)
    if media_type == "application/json":
        items, given = _read_json(body, verb)
        parameters |= given
    elif media_type == "multipart/form-data":
        parts = await read_form(request.headers, body, max_files=hub.settings.max_items)
        items, given = _read_form(parts, verb)
        parameters |= given
    elif media_type in verb.input.media_types:
        items = verb.input.items(body, media_type)
    else:
        raise UnreadableMedia(
            f"expected Content-Type {', '.join(_readable(verb))}; got {media_type!r}"
        )
    return Ask(
        ref=ref,
        verb=name,
        items=items,
        parameters=parameters,
        deadline=deadline,
        priority=read_priority(request.headers.get("x-priority")),
        body_bytes=len(body),
    )


def _readable(verb: Verb) -> list[str]:
    return ["application/json", "multipart/form-data", *verb.input.media_types]


def _query(request: Request) -> dict[str, object]:
    """Parameters may stand in the query too; the body's win."""
    parameters: dict[str, object] = {}
    for key, value in request.query_params.multi_items():
        if key in parameters:
            raise BadBody(f"expected each parameter of the query once; got {show(key)} again")
        parameters[key] = value
    return parameters


def _read_json(body: bytes, verb: Verb) -> tuple[list[object], dict[str, object]]:
    if not body and isinstance(verb.input, NoneInput):
        return [{}], {}
    try:
        wish = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"expected JSON; {error}") from None
    if not isinstance(wish, dict):
        raise BadBody(f'expected {{"inputs": […], "parameters": {{…}}}}; got {_kind(wish)}')
    unknown = sorted(set(wish) - set(BODY_FIELDS))
    if unknown:
        raise BadBody(f"expected the fields {list(BODY_FIELDS)}; got {unknown}")
    items = wish.get("inputs", [{}] if isinstance(verb.input, NoneInput) else None)
    if not isinstance(items, list):
        raise BadBody(f"inputs: expected a list of items; got {_kind(items)}")
    given = _parameters(wish.get("parameters", {}))
    return items, given | ({"stream": wish["stream"]} if "stream" in wish else {})


def _parameters(given: object) -> dict[str, object]:
    if not isinstance(given, dict):
        raise BadBody(f"parameters: expected a mapping; got {_kind(given)}")
    return given


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "a boolean",
             int: "a number", float: "a number", type(None): "nothing"}  # fmt: skip
    return names[type(value)]


def _read_form(parts: list[Part], verb: Verb) -> tuple[list[object], dict[str, object]]:
    """Parts named ``file`` are items; one named ``parameters`` is JSON."""
    items: list[object] = []
    parameters: dict[str, object] | None = None
    for part in parts:
        if part.name == "parameters" and parameters is None:
            try:
                parameters = _parameters(orjson.loads(part.content))
            except orjson.JSONDecodeError as error:
                raise BadBody(f"parameters: expected JSON; {error}") from None
        elif part.name == "file" and part.filename is not None:
            if part.media_type not in (*verb.input.media_types, "application/octet-stream", ""):
                raise UnreadableMedia(
                    f"file {show(part.filename)}: expected {', '.join(verb.input.media_types)};"
                    f" got {show(part.media_type)}"
                )
            items.extend(verb.input.items(part.content, part.media_type))
        else:
            raise BadBody(
                "expected parts named file (with a filename) and one named parameters;"
                f" got {show(part.name)}"
            )
    if not items and isinstance(verb.input, NoneInput):
        items = [{}]
    return items, parameters or {}


# --- routes ------------------------------------------------------------------------------------


class Listing(BaseModel):
    """The query of the hub listing: exact values, and words to search for."""

    model_config = ConfigDict(extra="forbid")

    family: Family | None = Field(None, description="cnn, rnn, transformer, gan, …")
    category: Category | None = Field(None, description="vision, text, series, …")
    task: str | None = Field(None, description="the task's exact name")
    state: State | None = None
    q: str | None = Field(None, description="words in the name, task or description")

    def keeps(self, entry: Mapping[str, Any]) -> bool:
        exact = ("family", "category", "task", "state")
        if any(wish not in (None, entry.get(key)) for key in exact if (wish := getattr(self, key))):
            return False
        text = " ".join(str(entry.get(key, "")) for key in ("id", "task", "description")).lower()
        return all(word in text for word in (self.q or "").lower().split())


def router(hub: ModelHub) -> APIRouter:
    """Every route of the native protocol."""
    routes = APIRouter(prefix=PREFIX, responses={"default": _PROBLEM_RESPONSE})
    _add_listing(routes, hub)
    _add_admin(routes, hub)
    for name in VERBS:
        _add_verb(routes, hub, name)
    return routes


def _add_verb(routes: APIRouter, hub: ModelHub, name: VerbName) -> None:
    async def handler(ref: str, request: Request) -> Response:
        timeout_ms = read_timeout_ms(request.headers.get("x-timeout-ms"), hub.settings.timeout_ms)
        deadline = time.monotonic() + timeout_ms / 1000
        with await hub.find(ref, deadline) as model:
            ask = await decode(request, hub, ref, name, model.verb(name), deadline)
            if model.says(name) and ask.parameters.get("stream") in (True, "true"):
                return EventStream(_events(hub, ask, request))
            reply = await hub.answer(ask, model)
        timing = {"queue_s": reply.queue_s, "compute_s": reply.compute_s}
        request.scope["modelhub"].update(model=reply.model, version=reply.version, **timing)
        body = {"model": reply.model, "version": reply.version, "outputs": reply.outputs}
        return encode(body, headers={"X-Model-Version": str(reply.version)})

    routes.add_api_route(
        f"/models/{{ref}}/{name}", handler, methods=["POST"], name=name, operation_id=name,
        tags=["models"], response_model=None, summary=f"{name.capitalize()} with a model that can",
    )  # fmt: skip


async def _events(hub: ModelHub, ask: Ask, request: Request) -> AsyncGenerator[bytes, None]:
    """What is said of each item as it comes, its end and its usage, and that all is done."""
    counts = [0] * len(ask.items)
    with await hub.find(ask.ref, ask.deadline) as model:
        manifest = model.manifest
        request.scope["modelhub"].update(model=manifest.name, version=manifest.version)
        async with aclosing(hub.stream(ask, model)) as stream:
            async for said in stream:
                counts[said.index] += said.tokens
                if said.text:
                    yield event({"text": said.text, "index": said.index})
                if said.finish_reason:
                    usage = usage_of(said.prompt_tokens, counts[said.index])
                    yield event({"finish_reason": said.finish_reason, "index": said.index,
                                 "usage": usage})  # fmt: skip
    yield DONE


def _add_listing(routes: APIRouter, hub: ModelHub) -> None:
    @routes.get("/models", tags=["hub"], summary="The hub listing", response_model=None)
    async def models(query: Annotated[Listing, Query()]) -> Response:
        entries = [entry for entry in await hub.listing() if query.keeps(entry)]
        trouble = {"reason": hub.catalog.trouble} if hub.catalog.trouble else {}
        return encode({"object": "list", "data": entries, **trouble})

    @routes.get("/models/{ref}", tags=["hub"], summary="All about one model", response_model=None)
    async def model(ref: str) -> Response:
        entry = await hub.entry(ref)
        if "family" not in entry:
            return encode(entry)  # its manifest cannot be read; the entry says why
        manifest = await hub.manifest(f"{entry['id']}@{entry['version']}")
        card = await hub.file(ref, "card.md")
        body = manifest.model_dump(mode="json")
        keys = ("graphs", "verbs", "evaluation", "parity", "provenance", "source", "inferred")
        more = {key: body[key] for key in keys}
        files = [f"{PREFIX}/models/{ref}/files/{name}" for name in manifest.files]
        text = card.read_text(encoding="utf-8") if card else ""
        return encode(
            {**entry, "signature": more.pop("verbs"), **more, "files": files, "card": text}
        )

    @routes.get("/models/{ref}/files/{name:path}", tags=["hub"], summary="A file of the bundle",
                response_model=None)  # fmt: skip
    async def file(ref: str, name: str) -> Response:
        path = await hub.file(ref, name)
        if path is None:
            raise NotFound(f"{ref} has no file {show(name)}")
        return FileResponse(path, headers={"X-Content-Type-Options": "nosniff"})


def _add_admin(routes: APIRouter, hub: ModelHub) -> None:
    path = "/models/{name}/aliases/{alias}"

    @routes.put(path, tags=["admin"], summary="Move an alias", response_model=None,
                openapi_extra={"requestBody": _ALIAS_BODY})  # fmt: skip
    async def put(name: str, alias: str, request: Request) -> Response:
        body = await read_body(request, hub.settings.max_body_bytes)
        try:
            wish = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadBody(f"expected JSON; {error}") from None
        version = wish.get("version") if isinstance(wish, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or set(wish) != {"version"}:
            raise BadBody('expected {"version": N} with a whole number')
        return encode({"name": name, "aliases": await hub.set_alias(name, alias, version)})

    @routes.delete(path, tags=["admin"], summary="Drop an alias", response_model=None)
    async def delete(name: str, alias: str) -> Response:
        return encode({"name": name, "aliases": await hub.drop_alias(name, alias)})


# --- OpenAPI -----------------------------------------------------------------------------------


def document(schema: dict[str, Any], hub: ModelHub) -> None:
    """Put bodies, and an example of every loaded model that works as it stands, into the schema."""
    for name in VERBS:
        operation = schema["paths"][f"{PREFIX}/models/{{ref}}/{name}"]["post"]
        models = [m for m in hub.loaded() if name in m.manifest.verbs]
        examples = {
            m.manifest.name: {"value": {"inputs": [m.manifest.verbs[name].example]}}
            for m in models
            if m.manifest.verbs[name].example is not None
        }
        media: dict[str, Any] = {
            "application/json": {"schema": _body_schema(models, name), "examples": examples},
            "multipart/form-data": {"schema": _FORM_SCHEMA},
        }
        for kind in sorted({t for m in models for t in m.manifest.verbs[name].input.media_types}):
            media[kind] = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": media}
        parameter = next(p for p in operation["parameters"] if p["name"] == "ref")
        parameter["description"] = "name, name@version or name@alias"
        parameter["examples"] = {key: {"value": key} for key in examples}
        operation["parameters"] += _HEADERS
        operation["responses"] = _RESPONSES if name != "generate" else _STREAMED


_FORM_SCHEMA = {
    "type": "object",
    "properties": {
        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "parameters": {"type": "string", "description": "a JSON mapping"},
    },
}
_HEADERS = [
    {"name": name, "in": "header", "required": False, "schema": schema, "description": words}
    for name, schema, words in (
        ("X-Timeout-Ms", {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS}, "deadline"),
        ("X-Priority", {"enum": ["high", "normal", "low"]}, "place in the queue"),
        ("X-Request-Id", {"type": "string"}, "echoed; made if absent"),
    )
]
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}, "index": {"type": "integer"},
    },
}  # fmt: skip
_PROBLEM_RESPONSE: dict[str, Any] = {
    "description": "a problem",
    "content": {"application/problem+json": {"schema": _PROBLEM}},
}
_ALIAS_BODY = {
    "required": True,
    "content": {"application/json": {
        "schema": {
            "type": "object",
            "required": ["version"],
            "properties": {"version": {"type": "integer", "minimum": 1}},
            "additionalProperties": False,
        },
        "example": {"version": 1},
    }},
}  # fmt: skip
_RESPONSES: dict[str, Any] = {
    "200": {
        "description": "One answer per item, in order",
        "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["model", "version", "outputs"],
            "properties": {
                "model": {"type": "string"}, "version": {"type": "integer"},
                "outputs": {"type": "array", "items": {"type": "object"}},
            },
        }}},
    },
    **{
        code: {**_PROBLEM_RESPONSE, "description": words}
        for code, words in {
            "400": "the body cannot be read", "404": "unknown model, version or alias",
            "409": "the model has no such verb", "413": "over a limit",
            "415": "a media type this model cannot read", "422": "not this model's input",
            "503": "not ready, draining or overloaded", "504": "the deadline passed",
            "500": "our fault",
        }.items()
    },
}  # fmt: skip

_STREAMED = {**_RESPONSES, "200": {
    "description": "One answer per item, in order; where a text is streamed, events",
    "content": {**_RESPONSES["200"]["content"], "text/event-stream": {}},
}}  # fmt: skip


def _body_schema(models: list[Any], name: VerbName) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for model in models:
        verb = model.manifest.verbs[name]
        for kind in (verb.input.parameters, verb.answer.parameters):
            parameters |= kind.model_json_schema().get("properties", {})
    return {
        "type": "object",
        "properties": {
            "inputs": {"type": "array", "items": {}, "description": "items of the model's kind"},
            "parameters": {
                "type": "object", "properties": parameters, "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }  # fmt: skip
