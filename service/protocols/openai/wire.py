"""What every call of OpenAI's API shares: its body, the terms of a request, the shape of errors."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import orjson
from fastapi import Request, Response
from pydantic import Field, JsonValue

from model_store.errors import ItemMismatch
from model_store.manifest import Manifest
from model_store.spec import Parameters, read_parameters, show, show_names
from service.body import read_body, read_priority, read_timeout_ms
from service.errors import BadBody, UnreadableMedia
from service.hub import ModelHub
from service.schema import Priority

PREFIX = "/v1"
CALLS = ("/completions", "/embeddings", "/images/generations", "/audio/transcriptions")
ROOTS = tuple(
    f"{PREFIX}/{root}"
    for root in ("completions", "chat/", "responses", "embeddings", "images/", "audio/")
)
"""What OpenAI's clients ask for here, offered or not; the rest of /v1 is the native protocol's."""
CODES = {
    400: "invalid_body", 401: "invalid_api_key", 403: "insufficient_permissions",
    404: "model_not_found", 405: "method_not_allowed", 409: "unsupported_by_model",
    413: "too_large", 415: "unsupported_media_type", 422: "invalid_value",
    501: "unsupported", 503: "unavailable", 504: "deadline_exceeded", 507: "insufficient_memory",
}  # fmt: skip
ITEMS = {"/completions": "prompt", "/embeddings": "input"}
"""The field whose items an error's index counts."""
TYPES = {401: "authentication_error", 403: "permission_error"}


class Body(Parameters):
    """The fields that every call has. ``user`` is taken and not looked at."""

    model: str = Field(min_length=1, description="name, name@version or name@alias")
    user: str = ""


B = TypeVar("B", bound=Body)


class Terms(NamedTuple):
    """What a request's headers ask for, and how large it is."""

    deadline: float
    priority: Priority
    body_bytes: int = 0


def speaks(path: str) -> bool:
    """Whether errors of this path have OpenAI's shape."""
    return path.startswith(ROOTS)


def encode(body: object, model: Manifest) -> Response:
    """An answer, and which version it is of."""
    headers = {"X-Model-Version": str(model.version)}
    return Response(orjson.dumps(body), 200, headers, "application/json")


def encode_error(
    path: str, status: int, detail: str, *, index: int | None = None, field: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """``param`` is the field at fault, ``code`` says in a word what the status does."""
    call = path.removeprefix(PREFIX)
    items = ITEMS.get(call)
    if items and index is not None:
        detail = f"{items}[{index}]: {detail.removeprefix(f'{items}: ')}"
        field = field or items
    code = CODES.get(status, "server_error" if status >= 500 else "invalid_request")
    if status == 404 and call not in CALLS:
        code = "unknown_url"
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = field.removeprefix("parameters.") or None
    error = {"message": detail, "type": kind, "param": param, "code": code}
    return Response(orjson.dumps({"error": error}), status, headers, "application/json")


async def read_json(request: Request, hub: ModelHub, kind: type[B]) -> tuple[B, Terms]:
    """A call's body and terms; a null counts as absent. Raises BadBody, BodyTooLarge,
    UnreadableMedia, ItemMismatch.
    """
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise UnreadableMedia(f"expected Content-Type application/json; got {media_type!r}")
    terms = read_terms(request, hub)
    body = await read_body(request, hub.settings.max_body_bytes)
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"expected JSON; {error}") from None
    if not isinstance(given, dict):
        raise BadBody(f"expected a JSON mapping; got {show(given)}")
    wish = {key: value for key, value in given.items() if value is not None}
    return read_fields(wish, kind), terms._replace(body_bytes=len(body))


def read_fields(wish: Mapping[str, object], kind: type[B]) -> B:
    """Raises ItemMismatch, also for a field that the call does not have."""
    if kind.model_config.get("extra") != "allow":
        check_fields(wish, kind.model_fields)
    return read_parameters(kind, wish, "")


def check_fields(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ItemMismatch for a field that is not known."""
    fields = sorted(known)
    unknown = [key for key in given if key not in fields]
    if unknown:
        raise ItemMismatch(
            f"no such field here; expected some of {show_names(fields, limit=40)}",
            field=show(unknown[0])[1:-1],
        )


def read_terms(request: Request, hub: ModelHub) -> Terms:
    """Of a request whose body is still to be read. Raises BadBody."""
    timeout_ms = read_timeout_ms(request.headers.get("x-timeout-ms"), hub.settings.timeout_ms)
    priority = read_priority(request.headers.get("x-priority"))
    return Terms(time.monotonic() + timeout_ms / 1000, priority)


def read_texts(value: Any, field: str) -> list[str]:
    """One text or several. Raises ItemMismatch."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise ItemMismatch(
            f"expected a string or a list of strings; got {show(value)}", field=field
        )
    for text in texts:
        if not isinstance(text, str):
            raise ItemMismatch(
                "expected strings, not tokens (each model has a tokenizer of its own); got"
                f" {show(text)}", field=field
            )  # fmt: skip
    return texts


def refuse_all_but(body: Body, neutral: Mapping[str, object]) -> None:
    """Fields of OpenAI's that do nothing here may say so only. Raises ItemMismatch."""
    for field, value in neutral.items():
        if (given := getattr(body, field)) != value:
            raise ItemMismatch(
                f"not offered here; expected nothing or {value!r}; got {show(given)}", field=field
            )


def name_of(model: Manifest) -> str:
    """What answers say of the model: a reference that will always mean this version."""
    return f"{model.name}@{model.version}"


TEXTS: dict[str, JsonValue] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
}
"""The JSON schema of what :func:`read_texts` takes."""
