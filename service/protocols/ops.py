"""Operations: probes, metrics and the hub page. None of them needs a key."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from service.hub import ModelHub
from service.telemetry import Telemetry

UI = Path(__file__).parent.parent / "ui"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}
ASSETS = {path.name: path for path in UI.iterdir() if path.suffix in MEDIA_TYPES}
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    # Only our own scripts and styles run, and only this server is asked; pictures and sounds may
    # also be made by the page itself.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; media-src blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
OPEN = frozenset(
    {"/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics", "/"}
    | {f"/ui/{name}" for name in ASSETS}
)
"""Paths that need no key."""


def router(hub: ModelHub, telemetry: Telemetry) -> APIRouter:
    """Every route that is about the server and not about a model."""
    routes = APIRouter(tags=["operations"])
    no: dict[int | str, dict[str, Any]] = {503: {"description": "No; the body says why"}}

    @routes.get("/livez", summary="Do the process and its threads make progress?", responses=no)
    @routes.get("/v2/health/live", include_in_schema=False)
    async def live() -> JSONResponse:
        stuck = hub.stuck
        body = {"live": not stuck, **({"reason": f"{stuck} makes no progress"} if stuck else {})}
        return JSONResponse(body, 503 if stuck else 200)

    @routes.get("/readyz", summary="Is the desired set loaded and warmed, and no drain begun?",
                responses=no)  # fmt: skip
    @routes.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> JSONResponse:
        reason = hub.not_ready
        # `live` too: the V2 specification's page shows that key here, and some clients read it.
        body = {"live": True, "ready": not reason, **({"reason": reason} if reason else {})}
        return JSONResponse(body, 503 if reason else 200)

    @routes.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        telemetry.ready.set(not hub.not_ready)
        return Response(telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(UI / "index.html", headers=PAGE_HEADERS)

    @routes.get("/ui/{name}", include_in_schema=False)
    async def asset(name: str) -> FileResponse:
        path = ASSETS.get(name)
        if path is None:
            raise HTTPException(404, "Not Found")
        return FileResponse(path, headers=PAGE_HEADERS, media_type=MEDIA_TYPES[path.suffix])

    return routes
