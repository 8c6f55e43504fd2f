"""The app as a function of its settings, and the one table from errors to statuses."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from model_store import errors as store
from service import errors as service
from service.edge import Edge, Gate, Traced
from service.hub import ModelHub
from service.protocols import ops
from service.protocols.native import routes as native
from service.protocols.open_inference import routes as open_inference
from service.protocols.open_inference.infer import Codecs
from service.protocols.openai import routes as openai
from service.protocols.openai import wire as openai_wire
from service.settings import Settings
from service.telemetry import Telemetry

log = logging.getLogger(__name__)

RETRY_AFTER_S = "1"
UNLOAD_S = 1.0
"""The server has waited for the requests by then; only runs that nobody waits for may be left."""

STATUS: dict[type[Exception], tuple[int, str]] = {
    service.BadBody: (400, "The body cannot be read"),
    service.NoKey: (401, "No valid key"),
    service.WrongScope: (403, "The key may not do this"),
    store.NotFound: (404, "Not found"),
    store.BadName: (404, "Not found"),
    service.NoSuchVerb: (409, "The model has no such verb"),
    store.VersionInUse: (409, "The version is in use"),
    service.BodyTooLarge: (413, "Over the limit"),
    store.ItemTooLarge: (413, "Over the limit"),
    service.UnreadableMedia: (415, "Unreadable media type"),
    store.ItemMismatch: (422, "Not this model's input"),
    service.Unsupported: (501, "Not supported"),
    service.NotReady: (503, "Not ready"),
    store.Unreachable: (503, "The store cannot be reached"),
    store.BadManifest: (503, "The model cannot be served"),
    store.CorruptBundle: (503, "The model cannot be served"),
    service.Overloaded: (503, "Overloaded"),
    service.DeadlinePassed: (504, "The deadline passed"),
    service.NoRoom: (507, "No room in memory"),
    service.OutOfMemory: (507, "No room in memory"),
    service.ModelFault: (500, "The model failed"),
    store.StoreError: (500, "The store failed"),
}
"""The error table. A class not listed has its nearest listed ancestor's row; none at all is 500."""


def create_app(settings: Settings, hub: ModelHub | None = None) -> FastAPI:
    """An app over one hub. Loading begins with its lifespan; nothing happens before."""
    telemetry = hub.telemetry if hub else Telemetry()
    telemetry.memory_budget.set(settings.max_memory_bytes)
    hub = hub or ModelHub(settings, telemetry)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        # Beside the server, so that probes are answered while models load.
        loading = asyncio.create_task(hub.start())
        loading.add_done_callback(_log_failure)
        yield
        loading.cancel()
        await hub.close(timeout_s=UNLOAD_S)

    # Its /docs needs no CDN: a hub may stand where there is no internet.
    app = FastAPIOffline(
        title="modelhub",
        version=version("modelhub"),
        summary="One hub that trains, keeps and serves every family of deep-learning model.",
        lifespan=lifespan,
    )
    app.state.hub = hub
    app.state.codecs = Codecs(min(settings.max_items, settings.max_queue_rows))
    app.state.encode_error = encode_error
    app.state.gate = Gate(settings, telemetry, ops.OPEN)
    app.include_router(native.router(hub))
    app.include_router(openai.router(hub))
    app.include_router(open_inference.router(hub, app.state.codecs, app.version))
    app.include_router(ops.router(hub, telemetry))
    for kind in (service.ServiceError, store.StoreError, store.ItemError, HTTPException,
                 RequestValidationError):  # fmt: skip
        app.add_exception_handler(kind, _handle)
    app.openapi = lambda: _openapi(app, hub)  # type: ignore[method-assign]
    app.add_middleware(Edge, gate=app.state.gate, encode_error=encode_error)
    if hub.tracing:
        app.add_middleware(Traced, tracing=hub.tracing, open_paths=ops.OPEN)
    return app


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception():
        log.critical("the hub cannot start", exc_info=task.exception())


async def _handle(request: Request, error: Exception) -> Response:
    response = encode_error(error, request.url.path)
    if response.status_code == 500:
        fields = {"request_id": request.scope["modelhub"]["request_id"]}
        log.error("request failed", exc_info=error, extra={"fields": fields})
    return response


@dataclass(frozen=True, slots=True)
class Problem:
    """An exception as a client may see it; each protocol has its own shape for it."""

    status: int
    title: str
    detail: str
    index: int | None = None
    headers: Mapping[str, str] | None = None
    field: str = ""

    @property
    def placed(self) -> str:
        """The detail, and before it the item that it is about."""
        return self.detail if self.index is None else f"inputs[{self.index}]: {self.detail}"


def encode_error(error: Exception, path: str) -> Response:
    """Any exception as a response in the protocol that ``path`` speaks."""
    problem = describe(error)
    if path == open_inference.PREFIX or path.startswith(f"{open_inference.PREFIX}/"):
        return open_inference.encode_error(problem.status, problem.placed, problem.headers)
    if openai_wire.speaks(path):
        return openai_wire.encode_error(
            path, problem.status, problem.detail, index=problem.index, field=problem.field,
            headers=problem.headers,
        )  # fmt: skip
    return native.encode_error(
        problem.status, problem.title, problem.placed, index=problem.index, headers=problem.headers
    )


def describe(error: Exception) -> Problem:
    """What the table says of it. What is not ours to show stays in the log."""
    if isinstance(error, HTTPException):
        detail = f"{error.detail}; /docs lists what there is"
        return Problem(error.status_code, str(error.detail), detail, headers=error.headers)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        detail = f"{place}: {first['msg']}; got {str(first.get('input'))[:60]!r}"
        return Problem(422, "Not a valid query", detail)
    status, title = _row(error)
    index = getattr(error, "index", None)
    detail = str(error)
    if isinstance(error, service.ModelFault):
        index = error.row
    elif status == 500:
        detail = "an error on our side; the log has it under this X-Request-Id"
    headers = {503: {"Retry-After": RETRY_AFTER_S}, 401: {"WWW-Authenticate": "Bearer"}}.get(status)
    return Problem(status, title, detail, index, headers, getattr(error, "field", ""))


def _row(error: Exception) -> tuple[int, str]:
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500, "Internal error"


def _openapi(app: FastAPI, hub: ModelHub) -> dict[str, Any]:
    """Made anew at each call: the examples are those of the models that are loaded now."""
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    for protocol in (native, openai, open_inference):
        protocol.document(schema, hub)
    return schema
