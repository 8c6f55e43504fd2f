"""What OpenAPI says of the native protocol beyond what the routes say themselves."""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from model_store.manifest import EXPLAIN, Verb, VerbName
from model_store.spec import Parameters
from service.body import MAX_TIMEOUT_MS
from service.explaining import ExplainParameters
from service.hub import ModelHub

PREFIX = "/v1"
VERBS: tuple[VerbName, ...] = get_args(VerbName)


def document(schema: dict[str, Any], hub: ModelHub) -> None:
    """Put bodies, and an example of every loaded model that works as it stands, into the schema."""
    for name in (*VERBS, EXPLAIN):
        operation = schema["paths"][f"{PREFIX}/models/{{ref}}/{name}"]["post"]
        verbs = dict(_verbs(hub, name))
        examples = {
            model: {"value": {"inputs": [verb.example]}}
            for model, verb in verbs.items()
            if verb.example is not None
        }
        kinds: list[type[Parameters]] = [verb.input.parameters for verb in verbs.values()]
        if name == EXPLAIN:
            kinds.append(ExplainParameters)
        else:
            kinds += [verb.answer.parameters for verb in verbs.values()]
        media: dict[str, Any] = {
            "application/json": {"schema": _body_schema(kinds), "examples": examples},
            "multipart/form-data": {"schema": _FORM_SCHEMA},
        }
        for kind in sorted({kind for verb in verbs.values() for kind in verb.input.media_types}):
            media[kind] = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": media}
        parameter = next(p for p in operation["parameters"] if p["name"] == "ref")
        parameter["description"] = "name, name@version or name@alias"
        parameter["examples"] = {key: {"value": key} for key in examples}
        operation["parameters"] += _HEADERS
        operation["responses"] = _RESPONSES if name != "generate" else _STREAMED


def _verbs(hub: ModelHub, name: str) -> Iterator[tuple[str, Verb]]:
    """Of each loaded model that can do this: its name, and the verb that says what it takes."""
    for model in hub.loaded():
        manifest = model.manifest
        found = manifest.explained if name == EXPLAIN else name
        if found in manifest.verbs:
            yield manifest.name, manifest.verbs[found]


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
PROBLEM_RESPONSE: dict[str, Any] = {
    "description": "a problem",
    "content": {"application/problem+json": {"schema": _PROBLEM}},
}
ALIAS_BODY = {
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
        code: {**PROBLEM_RESPONSE, "description": words}
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


def _body_schema(kinds: Iterable[type[Parameters]]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for kind in kinds:
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
