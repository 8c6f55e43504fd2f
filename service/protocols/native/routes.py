"""The routes of the native protocol: what models do, the listing, aliases."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from model_store.errors import NotFound
from model_store.manifest import EXPLAIN, Category, Family
from model_store.spec import show
from service.body import read_body, read_timeout_ms
from service.errors import BadBody
from service.event_stream import DONE, EventStream, event
from service.generating import usage_of
from service.hub import ModelHub
from service.protocols.native.openapi import (
    ALIAS_BODY,
    PREFIX,
    PROBLEM_RESPONSE,
    VERBS,
    document,
)
from service.protocols.native.wire import decode, encode, encode_error
from service.schema import Ask

State = Literal["ready", "loading", "unloaded", "failed"]


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
    routes = APIRouter(prefix=PREFIX, responses={"default": PROBLEM_RESPONSE})
    _add_listing(routes, hub)
    _add_admin(routes, hub)
    for name in (*VERBS, EXPLAIN):
        _add_verb(routes, hub, name)
    return routes


def _add_verb(routes: APIRouter, hub: ModelHub, name: str) -> None:
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
        more |= {"explains": manifest.explained, "files": files}
        text = card.read_text(encoding="utf-8") if card else ""
        return encode({**entry, "signature": more.pop("verbs"), **more, "card": text})

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
                openapi_extra={"requestBody": ALIAS_BODY})  # fmt: skip
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


__all__ = ["document", "encode", "encode_error", "router"]
