"""Triton's generate extension: a text in, a text out, whole or as it is said."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from model_store.errors import ItemMismatch, NotFound
from model_store.spec import Parameters, read_parameters, show, show_names
from service.body import read_body
from service.errors import BadBody, NoSuchVerb
from service.event_stream import EventStream, event
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.protocols.open_inference.infer import Address, Terms, find
from service.schema import Ask

VERB = "generate"
CALLS = ("generate", "generate_stream")


class Wish(Parameters):
    """What a body asks for beside the model's own parameters."""

    text_input: str
    id: str | None = None
    stream: bool | None = None
    exclude_input_in_output: bool = True

    def document(self, address: Address, model: LoadedModel, text: str) -> dict[str, object]:
        """The answer, or one event of it."""
        head = {} if self.id is None else {"id": self.id}
        version = str(model.manifest.version)
        return {**head, "model_name": address.label, "model_version": version, "text_output": text}

    @property
    def prompt(self) -> str:
        """What the answer begins with."""
        return "" if self.exclude_input_in_output else self.text_input


def read_wish(body: bytes) -> tuple[Wish, dict[str, object]]:
    """A body's own fields, and what is for the model. Parameters may stand in ``parameters`` or
    beside it, as Triton maps both to the same; a null says nothing. Raises BadBody, ItemMismatch.
    """
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"expected JSON; {error}") from None
    if not isinstance(given, dict):
        raise BadBody(f'expected {{"text_input": "…"}}; got {show(given)}')
    given = {key: value for key, value in given.items() if value is not None}
    parameters = given.pop("parameters", {})
    if not isinstance(parameters, dict):
        raise BadBody(f"parameters: expected a mapping; got {show(parameters)}")
    if twice := sorted(set(given) & set(parameters)):
        raise ItemMismatch(
            f"expected each once; {show_names(twice)} stand beside it too", field="parameters"
        )
    merged = parameters | given
    own = {key: merged.pop(key) for key in Wish.model_fields if key in merged}
    return read_parameters(Wish, own, ""), merged


def add(routes: APIRouter, hub: ModelHub) -> None:
    """Both calls, with a version in the path and without."""
    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        shown = "{version}" not in path

        async def generate(request: Request, name: str) -> Response:
            address, wish, ask = await _read(request, hub, name)
            if wish.stream:
                raise ItemMismatch("expected false here; generate_stream streams", field="stream")
            with await find(hub, address, ask.deadline) as model:
                _check(address, model)
                reply = await hub.answer(ask, model)
                text = wish.prompt + reply.outputs[0]["text"]
                document = wish.document(address, model, text)
            request.scope["modelhub"].update(model=reply.model, version=reply.version)
            headers = {"X-Model-Version": str(reply.version)}
            return Response(orjson.dumps(document), 200, headers, "application/json")

        async def generate_stream(request: Request, name: str) -> Response:
            return EventStream(_events(hub, request, *await _read(request, hub, name)))

        for call, handler, words in (
            ("generate", generate, "Continue a text"),
            ("generate_stream", generate_stream, "Continue a text, as it is said"),
        ):
            routes.add_api_route(f"{path}/{call}", handler, summary=words, response_model=None,
                                 include_in_schema=shown, methods=["POST"])  # fmt: skip


async def _read(request: Request, hub: ModelHub, name: str) -> tuple[Address, Wish, Ask]:
    terms = Terms.read(request.headers.get, hub.settings.timeout_ms)
    address = Address.read(name, request.path_params.get("version"))
    deadline = time.monotonic() + terms.timeout_s
    body = await read_body(request, hub.settings.max_body_bytes)
    wish, parameters = read_wish(body)
    items: list[object] = [wish.text_input]
    ask = Ask(address.ref, VERB, items, parameters, deadline, terms.priority, len(body))
    return address, wish, ask


async def _events(
    hub: ModelHub, request: Request, address: Address, wish: Wish, ask: Ask
) -> AsyncGenerator[bytes, None]:
    prompt = wish.prompt
    with await find(hub, address, ask.deadline) as model:
        _check(address, model)
        manifest = model.manifest
        request.scope["modelhub"].update(model=manifest.name, version=manifest.version)
        async with aclosing(hub.stream(ask, model)) as stream:
            async for said in stream:
                if said.text or said.finish_reason:
                    yield event(wish.document(address, model, prompt + said.text))
                    prompt = ""


def _check(address: Address, model: LoadedModel) -> None:
    """Raises NotFound for a graph the version does not have, NoSuchVerb."""
    model.must_say(VERB)
    manifest, graph = model.manifest, model.verb(VERB).graph
    if address.graph in ("", graph):
        return
    if address.graph not in manifest.graphs:
        raise NotFound(f"no graph {address.label!r}; {manifest.name}~{graph} says text")
    raise NoSuchVerb(f"{address.label} says no text; {manifest.name}~{graph} does")


# --- OpenAPI -----------------------------------------------------------------------------------


def document(schema: dict[str, Any], prefix: str, hub: ModelHub) -> None:
    """Put the body, and an example of every loaded model that says text, into the schema."""
    talkers = [m for m in hub.loaded() if VERB in m.manifest.verbs and m.says(VERB)]
    parameters: dict[str, Any] = {}
    for model in talkers:
        verb = model.verb(VERB)
        for kind in (verb.input.parameters, verb.answer.parameters):
            parameters |= kind.model_json_schema().get("properties", {})
    body = {
        "type": "object",
        "required": ["text_input"],
        "properties": {
            "text_input": {"type": "string"}, "id": {"type": "string"},
            "stream": {"type": "boolean"}, "exclude_input_in_output": {"type": "boolean"},
            "parameters": {"type": "object", "properties": parameters},
        },
    }  # fmt: skip
    examples = {
        model.manifest.name: {
            "value": {
                "text_input": model.verb(VERB).example,
                "parameters": {"max_tokens": 16, "temperature": 0},
            }
        }
        for model in talkers
    }
    content = {"application/json": {"schema": body, "examples": examples}}
    for call in CALLS:
        operation = schema["paths"][f"{prefix}/models/{{name}}/{call}"]["post"]
        operation["requestBody"] = {"required": True, "content": content}
        answer: dict[str, Any] = {"application/json": {"schema": _OUTPUT}}
        if call == "generate_stream":
            answer = {"text/event-stream": {}}
        operation["responses"]["200"] = {"description": "the text", "content": answer}
        parameter = next(p for p in operation["parameters"] if p["name"] == "name")
        parameter["examples"] = {key: {"value": key} for key in examples}


_OUTPUT = {
    "type": "object",
    "required": ["model_name", "model_version", "text_output"],
    "properties": {
        "id": {"type": "string"}, "model_name": {"type": "string"},
        "model_version": {"type": "string"}, "text_output": {"type": "string"},
    },
}  # fmt: skip
