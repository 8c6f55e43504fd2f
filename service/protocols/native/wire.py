"""Bodies of the native protocol: JSON, the raw bytes of one item, a form; and what is sent back."""

from collections.abc import Mapping

import orjson
from fastapi import Request, Response

from model_store.inputs.none import NoneInput
from model_store.manifest import Verb
from model_store.spec import show
from service.body import Part, read_body, read_form, read_priority
from service.errors import BadBody, UnreadableMedia
from service.hub import ModelHub
from service.schema import Ask

BODY_FIELDS = ("inputs", "parameters", "stream")


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


async def decode(
    request: Request, hub: ModelHub, ref: str, name: str, verb: Verb, deadline: float
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
