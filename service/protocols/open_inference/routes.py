"""The routes of V2 in the app: every call of the protocol, in the terms of HTTP."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from model_store.errors import NotFound
from model_store.manifest import MAIN_GRAPH
from model_store.spec import show
from service.body import read_body
from service.errors import BadBody, Unsupported
from service.hub import ModelHub
from service.lane import Lane
from service.loaded import LoadedModel
from service.logs import LogSettings
from service.protocols.open_inference import documents, generate
from service.protocols.open_inference.answer import Answer
from service.protocols.open_inference.infer import (
    Address,
    Call,
    Codec,
    Codecs,
    Terms,
    find,
    lane_of,
)
from service.schema import VersionKey

PREFIX = "/v2"
MAX_CONTROL_BYTES = 1_048_576


def encode(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")


def encode_error(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The protocol knows one shape of error for all."""
    return encode({"error": detail}, status, headers)


def router(hub: ModelHub, codecs: Codecs, version: str) -> APIRouter:
    """Every route of V2 but the probes, which ``ops`` has."""
    routes = APIRouter(
        prefix=PREFIX, tags=["open inference protocol"], responses={"default": _ERROR_RESPONSE}
    )
    _add_server(routes, hub, version)
    _add_models(routes, hub)
    _add_infer(routes, hub, codecs)
    generate.add(routes, hub)
    _add_repository(routes, hub)
    return routes


def document(schema: dict[str, Any], hub: ModelHub) -> None:
    """What of the OpenAPI page depends on the models that are loaded."""
    generate.document(schema, PREFIX, hub)


def _add_server(routes: APIRouter, hub: ModelHub, version: str) -> None:
    @routes.get("", summary="Server metadata", response_model=None)
    @routes.get("/", include_in_schema=False, response_model=None)
    async def server() -> Response:
        return encode({"name": "modelhub", "version": version, "extensions": documents.EXTENSIONS})

    @routes.get("/models/stats", summary="Statistics of all models", response_model=None)
    async def all_statistics() -> Response:
        return encode({"model_stats": [_statistics(hub, name, v) for name, v in _met(hub)]})

    @routes.get("/logging", summary="What is logged", response_model=None)
    async def logging_settings() -> Response:
        return encode(LogSettings.read().document())

    @routes.post("/logging", summary="Change what is logged (admin)", response_model=None)
    async def set_logging(request: Request) -> Response:
        wish = await _read_control(request)
        return encode(LogSettings.read().changed(wish).apply().document())


def _add_models(routes: APIRouter, hub: ModelHub) -> None:
    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        shown = "{version}" not in path

        async def metadata(request: Request, name: str) -> Response:
            address = _address(request, name)
            _, number = key = await hub.catalog.resolve(address.ref)
            graph = _graph(await hub.catalog.manifest(key), address)
            versions = hub.catalog.shelves[key[0]].versions
            if "version" in request.path_params:
                versions = [number]
            return encode(documents.metadata(name, versions, graph))

        async def ready(request: Request, name: str) -> Response:
            key = await _resolve(hub, _address(request, name))
            state = hub.state(key)["state"]
            body = {"name": name, "ready": state == "ready"}
            return encode(body, 200 if state == "ready" else 503)

        async def config(request: Request, name: str) -> Response:
            address = _address(request, name)
            with await hub.find(address.ref) as model:
                lane = model.decoders.get(address.graph or MAIN_GRAPH) or lane_of(model, address)
                number, delay_ms = model.manifest.version, hub.settings.batch_delay_ms
                return encode(documents.configuration(name, number, lane, delay_ms))

        async def statistics(request: Request, name: str) -> Response:
            model_name, number = await _resolve(hub, _address(request, name))
            version = request.path_params.get("version")
            versions = [v for n, v in _met(hub) if n == model_name and version in (None, str(v))]
            found = [_statistics(hub, model_name, v) for v in versions or [number]]
            return encode({"model_stats": found})

        for suffix, handler, words in (
            ("", metadata, "A model's tensors"),
            ("/ready", ready, "Is a model ready?"),
            ("/config", config, "How a model is run"),
            ("/stats", statistics, "What a model has done"),
        ):
            routes.add_api_route(path + suffix, handler, summary=words, response_model=None,
                                 include_in_schema=shown, methods=["GET"])  # fmt: skip


async def _resolve(hub: ModelHub, address: Address) -> VersionKey:
    """The version an address leads to. Raises NotFound, also where that has no such graph."""
    key = await hub.catalog.resolve(address.ref)
    if address.graph:
        _graph(await hub.catalog.manifest(key), address)
    return key


def _address(request: Request, name: str) -> Address:
    """Of a route with a version or without."""
    return Address.read(name, request.path_params.get("version"))


def _graph(manifest: Any, address: Address) -> Any:
    try:
        return documents.graph_of(manifest, address.graph)
    except KeyError:
        names = ", ".join(f"{manifest.name}~{name}" for name in manifest.graphs)
        raise NotFound(f"no graph {address.label!r}; there are {names}") from None


def _met(hub: ModelHub) -> list[tuple[str, int]]:
    return sorted(key for key in hub.telemetry.meters if key[0] in hub.catalog.shelves)


def _statistics(hub: ModelHub, name: str, version: int) -> dict[str, Any]:
    model = hub.residency.loaded.get((name, version))
    meter = hub.telemetry.meter(name, version)
    return documents.statistics(name, version, meter, model.memory_bytes if model else 0)


# --- infer -------------------------------------------------------------------------------------


def _add_infer(routes: APIRouter, hub: ModelHub, codecs: Codecs) -> None:
    async def infer(request: Request, name: str) -> Response:
        terms = Terms.read(request.headers.get, hub.settings.timeout_ms)
        address = _address(request, name)
        model = await find(hub, address, time.monotonic() + terms.timeout_s)
        facts = {"model": model.manifest.name, "version": model.manifest.version}
        request.scope["modelhub"].update(facts)
        try:
            body = await read_body(request, hub.settings.max_body_bytes)
            call = Awaited(model, *codecs.find(model, address))
        except BaseException:
            model.release()
            raise
        call.begin(memoryview(body), terms)
        try:
            answer = await call.future
        except asyncio.CancelledError:
            call.cancel()
            raise
        request.scope["modelhub"].update(queue_s=call.queue_s, compute_s=call.compute_s)
        response = Response(b"".join(answer.chunks))
        lines = answer.fields.split(b"\r\n")
        response.raw_headers = [_split(line) for line in lines if line]
        return response

    words = "Infer with a model's own tensors"
    routes.add_api_route("/models/{name}/infer", infer, methods=["POST"], summary=words,
                         response_model=None, openapi_extra=_INFER)  # fmt: skip
    routes.add_api_route("/models/{name}/versions/{version}/infer", infer, methods=["POST"],
                         response_model=None, include_in_schema=False)  # fmt: skip


class Awaited(Call):
    """A call whose end a handler awaits."""

    __slots__ = ("future",)

    def __init__(self, model: LoadedModel, lane: Lane, codec: Codec) -> None:
        super().__init__(model, lane, codec)
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def succeed(self, answer: Answer) -> None:
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b": ")
    return name, value


_ERROR_RESPONSE: dict[str, Any] = {
    "description": "an error",
    "content": {"application/json": {"schema": {
        "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}},
    }}},
}  # fmt: skip
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "parameters": {"type": "object"},
                    "inputs": {"type": "array", "items": _TENSOR},
                    "outputs": {"type": "array", "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"}, "parameters": {"type": "object"},
                        },
                    }},
                },
            }},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}  # fmt: skip


# --- the repository ----------------------------------------------------------------------------


def _add_repository(routes: APIRouter, hub: ModelHub) -> None:
    @routes.post("/repository/index", summary="Every version and its state", response_model=None)
    async def index(request: Request) -> Response:
        wish = await _read_control(request)
        ready = wish.get("ready", False)
        if not isinstance(ready, bool):
            raise BadBody(f"ready: expected true or false; got {show(ready)}")
        await hub.look()
        return encode(documents.index(hub, only_ready=ready))

    @routes.post("/repository/models/{name}/load", summary="Load a model (admin)",
                 response_model=None)  # fmt: skip
    async def load(request: Request, name: str) -> Response:
        parameters = _parameters(await _read_control(request))
        if parameters:
            raise Unsupported(
                f"parameters: {sorted(parameters)}: a model is loaded as it was published; a new"
                " graph or setting is a new version in the store"
            )
        await hub.load(name)
        return encode({"name": name, "load": True})

    @routes.post("/repository/models/{name}/unload", summary="Unload a model (admin)",
                 response_model=None)  # fmt: skip
    async def unload(request: Request, name: str) -> Response:
        _parameters(await _read_control(request))
        await hub.unload(name)
        return encode({"name": name, "unload": True})


async def _read_control(request: Request) -> dict[str, Any]:
    body = await read_body(request, MAX_CONTROL_BYTES)
    try:
        wish = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadBody(f"expected JSON; {error}") from None
    if not isinstance(wish, dict):
        raise BadBody(f"expected a JSON mapping; got {show(wish)}")
    return wish


def _parameters(wish: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = wish.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadBody(f"parameters: expected a mapping; got {show(parameters)}")
    return {key: value for key, value in parameters.items() if key != "unload_dependents"}
