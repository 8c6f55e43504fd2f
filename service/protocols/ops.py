"""Operations: probes, metrics and the hub page. None of them needs a key."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.hub import ModelHub
from service.telemetry import Telemetry

UI = Path(__file__).parent.parent / "ui"
OPEN = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics", "/"})
"""Paths that need no key."""


def router(hub: ModelHub, telemetry: Telemetry) -> APIRouter:
    """Every route that is about the server and not about a model."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/livez", summary="Do the process and its threads make progress?")
    @routes.get("/v2/health/live", include_in_schema=False)
    async def live() -> JSONResponse:
        stuck = hub.stuck
        body = {"live": not stuck, **({"reason": f"{stuck} makes no progress"} if stuck else {})}
        return JSONResponse(body, 503 if stuck else 200)

    @routes.get("/readyz", summary="Is the desired set loaded and warmed, and no drain begun?")
    @routes.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> JSONResponse:
        reason = hub.not_ready
        # `live` too: the V2 specification's page shows that key here, and some clients read it.
        body = {"live": True, "ready": not reason, **({"reason": reason} if reason else {})}
        return JSONResponse(body, 503 if reason else 200)

    @routes.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        telemetry.ready.set(not hub.not_ready)
        return Response(telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(UI / "index.html")

    return routes
