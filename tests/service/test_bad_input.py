"""Bad input over a real socket: each gets its status and a problem that says what was wrong, and
the next good request is answered as if nothing had happened.
"""
# One case a line reads as the table it is.
# ruff: noqa: E501

import base64
import concurrent.futures
import io
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.service.conftest import MAX_BODY_BYTES
from tests.service.server import PATIENCE_S, Server, patience, serving

SHADE, SCORE = "/v1/models/shades/predict", "/v1/models/sensor/score"
SAY, TIDE, STAMP = (
    "/v1/models/words/predict",
    "/v1/models/tide/predict",
    "/v1/models/stamps/generate",
)
WHITE = [[255] * 4] * 4


@dataclass(frozen=True)
class Bad:
    """A request and what must come of it."""

    status: int
    path: str
    body: bytes | str | Callable[[], bytes | str]
    """Large ones are made when their turn comes."""
    detail: str
    """Words of the detail, in order, with ``…`` for what may stand between them."""
    index: int | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: typed("application/json"))
    method: str = "POST"


def inputs(*items: object, **more: object) -> str:
    return json.dumps({"inputs": items, **more})


def typed(media_type: str, **more: str) -> dict[str, str]:
    return {"Content-Type": media_type, **more}


def extra(**more: str) -> dict[str, str]:
    return typed("application/json", **{key.replace("_", "-"): text for key, text in more.items()})


def picture(kind: str, mode: str = "L", size: tuple[int, int] = (6, 8), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def bomb() -> bytes:
    """A whole, valid PNG of 20,000 × 20,000 pixels in a few kilobytes."""
    return picture("PNG", "1", (20_000, 20_000))


def noise() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((60, 60), 90).save(buffer, "PNG")
    return buffer.getvalue()


def animation() -> bytes:
    frames = [Image.new("L", (6, 8), level) for level in (0, 100, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def form(*parts: str, boundary: str = "xyz", end: str = "--xyz--\r\n") -> bytes:
    return ("".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + end).encode("latin-1")


FORM = typed("multipart/form-data; boundary=xyz")
FILE = 'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
SETTINGS = 'Content-Disposition: form-data; name="parameters"\r\n\r\n'
GOOD = inputs([1, 2, 0])

UNREADABLE = {
    "empty body": Bad(400, SCORE, "", "expected JSON"),
    "not JSON": Bad(400, SCORE, "hello", "expected JSON"),
    "truncated JSON": Bad(400, SCORE, GOOD[:-3], "expected JSON"),
    "two documents": Bad(400, SCORE, GOOD + GOOD, "expected JSON"),
    "not UTF-8": Bad(400, SCORE, b'{"inputs": ["\xff\xfe"]}', "expected JSON"),
    "UTF-16": Bad(400, SCORE, GOOD.encode("utf-16"), "expected JSON"),
    "NaN": Bad(400, SCORE, '{"inputs": [[NaN, 1, 0]]}', "expected JSON"),
    "Infinity": Bad(400, SCORE, '{"inputs": [[-Infinity, 1, 0]]}', "expected JSON"),
    "deep nesting": Bad(400, SCORE, "[" * 100_000, "expected JSON"),
    "deep and closed": Bad(400, SCORE, "[" * 5000 + "]" * 5000, "expected JSON"),
    "too large for any float": Bad(400, SCORE, '{"inputs": [[1e999, 1, 0]]}', "expected JSON"),
    "half a surrogate": Bad(400, SAY, '{"inputs": ["\\ud800"]}', "expected JSON"),
    "a list": Bad(400, SCORE, "[1, 2]", "expected … inputs … got a list"),
    "a string": Bad(400, SCORE, '"inputs"', "got a string"),
    "a number": Bad(400, SCORE, "1.5", "got a number"),
    "null": Bad(400, SCORE, "null", "got nothing"),
    "no inputs": Bad(400, SCORE, "{}", "inputs: expected a list of items; got nothing"),
    "inputs null": Bad(400, SCORE, '{"inputs": null}', "inputs: expected a list … got nothing"),
    "inputs a mapping": Bad(400, SCORE, '{"inputs": {"a": 1}}', "inputs: … got a mapping"),
    "inputs a string": Bad(400, SAY, '{"inputs": "good"}', "inputs: … got a string"),
    "unknown field": Bad(400, SCORE, inputs([1, 2, 0], colour=1), "['inputs', 'parameters', 'stream'] … colour"),
    "parameters a list": Bad(400, SCORE, inputs(parameters=[1]), "parameters: … got a list"),
    "parameters null": Bad(400, SCORE, inputs(parameters=None), "parameters: … got nothing"),
    "timeout zero": Bad(400, SCORE, GOOD, "X-Timeout-Ms: expected 1 to", headers=extra(X_Timeout_Ms="0")),
    "timeout negative": Bad(400, SCORE, GOOD, "got '-1'", headers=extra(X_Timeout_Ms="-1")),
    "timeout fraction": Bad(400, SCORE, GOOD, "got '1.5'", headers=extra(X_Timeout_Ms="1.5")),
    "timeout words": Bad(400, SCORE, GOOD, "got 'soon'", headers=extra(X_Timeout_Ms="soon")),
    "timeout empty": Bad(400, SCORE, GOOD, "got ''", headers=extra(X_Timeout_Ms="")),
    "timeout too long": Bad(400, SCORE, GOOD, "3600000", headers=extra(X_Timeout_Ms="3600001")),
    "timeout with zeros": Bad(400, SCORE, GOOD, "X-Timeout-Ms", headers=extra(X_Timeout_Ms="0" * 8 + "1" * 12)),
    "timeout of a thousand digits": Bad(400, SCORE, GOOD, "X-Timeout-Ms", headers=extra(X_Timeout_Ms="9" * 5000)),
    "priority unknown": Bad(400, SCORE, GOOD, "X-Priority: expected high, normal or low; got 'urgent'", headers=extra(X_Priority="urgent")),
    "priority empty": Bad(400, SCORE, GOOD, "X-Priority", headers=extra(X_Priority="")),
    "query twice": Bad(400, SHADE + "?top_k=1&top_k=2", inputs(WHITE), "once; got 'top_k' again"),
    "form without boundary": Bad(400, SHADE, form(FILE), "oundary", headers=typed("multipart/form-data")),
    "form that is none": Bad(400, SHADE, "hello", "multipart/form-data", headers=FORM),
    "form of another boundary": Bad(400, SHADE, form(FILE, boundary="abc"), "multipart", headers=FORM),
    "form part unnamed": Bad(400, SHADE, form("Content-Type: image/png\r\n\r\nabc"), "name", headers=FORM),
    "form part unknown": Bad(400, SHADE, form(FILE.replace('"file"', '"photo"')), "got 'photo'", headers=FORM),
    "form file without filename": Bad(400, SHADE, form('Content-Disposition: form-data; name="file"\r\n\r\nabc'), "with a filename", headers=FORM),
    "form parameters twice": Bad(400, SHADE, form(SETTINGS + "{}", SETTINGS + "{}"), "one named parameters", headers=FORM),
    "form parameters not JSON": Bad(400, SHADE, form(SETTINGS + "top_k"), "parameters: expected JSON", headers=FORM),
    "form parameters a list": Bad(400, SHADE, form(SETTINGS + "[]"), "parameters: … a list", headers=FORM),
    "form with many fields": Bad(400, SHADE, form(*[SETTINGS + "{}"] * 50), "form-data", headers=FORM),
}  # fmt: skip

UNKNOWN = {
    "model": Bad(404, "/v1/models/nothing/score", GOOD, "no model 'nothing'"),
    "version": Bad(404, "/v1/models/sensor@9/score", GOOD, "no version 9; it has [1]"),
    "version zero": Bad(404, "/v1/models/sensor@0/score", GOOD, "sensor has no"),
    "alias": Bad(404, "/v1/models/sensor@stable/score", GOOD, "no alias 'stable'; it has []"),
    "name in capitals": Bad(404, "/v1/models/Sensor/score", GOOD, "expected [a-z0-9]"),
    "name with dots": Bad(404, "/v1/models/..%2Fsensor/score", GOOD, "/docs"),
    "name too long": Bad(404, f"/v1/models/{'s' * 200}/score", GOOD, "expected [a-z0-9]"),
    "name empty": Bad(404, "/v1/models//score", GOOD, "/docs"),
    "name with a line end": Bad(404, "/v1/models/sen%0Asor/score", GOOD, "expected [a-z0-9]"),
    "name with a zero": Bad(404, "/v1/models/sensor%00/score", GOOD, "expected [a-z0-9]"),
    "verb": Bad(404, "/v1/models/sensor/dance", GOOD, "/docs"),
    "path": Bad(404, "/v3/nothing", GOOD, "/docs"),
    "verb of another model": Bad(409, "/v1/models/sensor/predict", GOOD, "sensor cannot predict; it can score"),
    "verb and bad body": Bad(409, "/v1/models/sensor/generate", "{", "it can score"),
    "method": Bad(405, SCORE, "", "Method Not Allowed", method="GET"),
    "method on the listing": Bad(405, "/v1/models", GOOD, "Method Not Allowed"),
}  # fmt: skip

TOO_LARGE = {
    "10,001 inputs": Bad(413, SCORE, lambda: inputs(*[[1, 2, 0]] * 10_001), "at most 10,000 inputs; got 10,001"),
    "10,001 rows of CSV": Bad(413, SCORE, lambda: "a,b,code\n" + "1,2,0\n" * 10_001, "at most 10,000 inputs; got 10,001", headers=typed("text/csv")),
    "10,001 files": Bad(413, SHADE, lambda: form(*[FILE + "a"] * 10_001), "at most 10,000 files", headers=FORM),
    "rows of few items": Bad(413, STAMP, inputs(*[{"n": 1024}] * 1000), "at most 10,000 rows"),
    "5 MB of text": Bad(413, SAY, lambda: inputs("good " * 1_000_000), "characters; got 5,000,000", 0),
    "5 MB of raw text": Bad(413, SAY, lambda: "good " * 1_000_000, "characters; got 5,000,000", 0, typed("text/plain")),
    "5 MB in one word": Bad(413, SAY, lambda: inputs("good", "g" * 5_000_000), "got 5,000,000", 1),
    "too many tokens": Bad(413, SAY, inputs("good " * 9), "at most 8 tokens; got 9 … truncate", 0),
    "PNG bomb": Bad(413, SHADE, bomb, "at most 50,000,000 pixels; got", 0, typed("image/png")),
    "PNG bomb in JSON": Bad(413, SHADE, lambda: inputs(WHITE, b64(bomb())), "pixels", 1),
    "body": Bad(413, SCORE, lambda: b" " * (MAX_BODY_BYTES + 1), f"at most {MAX_BODY_BYTES:,} bytes; got {MAX_BODY_BYTES + 1:,}"),
    "too long a series": Bad(413, "/v1/models/tide/predict", lambda: inputs([[0, 0]] * 100_001), "steps; got 100,001", 0),
}  # fmt: skip

UNREADABLE_MEDIA = {
    "type unknown": Bad(415, SCORE, GOOD, "expected Content-Type application/json, … got 'text/yaml'", headers=typed("text/yaml")),
    "type of curl -d": Bad(415, SCORE, GOOD, "x-www-form-urlencoded", headers=typed("application/x-www-form-urlencoded")),
    "type empty": Bad(415, SCORE, GOOD, "got ''", headers=typed("")),
    "type without a slash": Bad(415, SCORE, GOOD, "got 'json'", headers=typed("json")),
    "type of another kind": Bad(415, SCORE, picture("PNG"), "text/csv … 'image/png'", headers=typed("image/png")),
    "type in a form": Bad(415, SHADE, form(FILE.replace("image/png", "audio/wav")), "file 'a.png': expected image/png … got 'audio/wav'", headers=FORM),
    "gzip": Bad(415, SCORE, GOOD, "Content-Encoding identity; got 'gzip'", headers=extra(Content_Encoding="gzip")),
    "brotli": Bad(415, SCORE, GOOD, "identity; got 'br'", headers=extra(Content_Encoding="br")),
}  # fmt: skip

MISMATCHED = {
    "no items": Bad(422, SCORE, inputs(), "inputs: expected at least one item; got none"),
    "no items for a generator": Bad(422, STAMP, inputs(), "inputs: expected at least one item; got none"),
    "empty form": Bad(422, SHADE, form(), "inputs: expected at least one item", headers=FORM),
    "cells too few": Bad(422, SCORE, inputs([1, 2, 0], [1, 2]), "expected 3 cells; got 2", 1),
    "cells too many": Bad(422, SCORE, inputs([1, 2, 0, 4]), "expected 3 cells; got 4", 0),
    "cell a string": Bad(422, SCORE, inputs({"a": 1, "b": "x", "code": 0}), "b: expected a number; got 'x'", 0),
    "cell a boolean": Bad(422, SCORE, inputs([True, 2, 0]), "a: expected a number; got True", 0),
    "cell null": Bad(422, SCORE, inputs([None, 2, 0]), "a: expected a number; got None", 0),
    "cell a list": Bad(422, SCORE, inputs([[1], 2, 0]), "a: expected a number; got a list of 1", 0),
    "cell too large": Bad(422, SCORE, '{"inputs": [[1e39, 2, 0]]}', "a: expected a finite 32-bit number", 0),
    "cell NaN in a string": Bad(422, SCORE, inputs(["NaN", 2, 0]), "a: expected a number; got 'NaN'", 0),
    "column missing": Bad(422, SCORE, inputs({"a": 1, "b": 2}), "missing ['code']", 0),
    "column unknown": Bad(422, SCORE, inputs({"a": 1, "b": 2, "code": 0, "d": 1}), "unknown ['d']", 0),
    "row a string": Bad(422, SCORE, inputs("1,2,0"), "expected a mapping or list … '1,2,0'", 0),
    "row a number": Bad(422, SCORE, inputs(5), "got 5", 0),
    "parameter unknown": Bad(422, SCORE, inputs([1, 2, 0], parameters={"speed": 9}), "parameters: expected no parameters; got ['speed']"),
    "parameter unknown in the query": Bad(422, SCORE + "?speed=9", GOOD, "got ['speed']"),
    "parameter out of range": Bad(422, SHADE, inputs(WHITE, parameters={"top_k": 0}), "parameters.top_k: … greater than or equal to 1; got 0"),
    "parameter of the wrong type": Bad(422, SHADE, inputs(WHITE, parameters={"top_k": "x"}), "parameters.top_k: … got 'x'"),
    "parameter null": Bad(422, SHADE, inputs(WHITE, parameters={"top_k": None}), "parameters.top_k: … got None"),
    "parameter nested": Bad(422, SHADE, inputs(WHITE, parameters={"top_k": {"a": [1]}}), "parameters.top_k: … a mapping of 1"),
    "csv header only": Bad(422, SCORE, "a,b,code\n", "at least one row; got 1 lines", headers=typed("text/csv")),
    "csv ragged": Bad(422, SCORE, "a,b,code\n1,2\n", "expected 3 cells … in row 2", headers=typed("text/csv")),
    "csv header twice": Bad(422, SCORE, "a,a,code\n1,2,3\n", "distinct names", headers=typed("text/csv")),
    "csv not UTF-8": Bad(422, SCORE, b"a,b,code\n\xff,2,3\n", "expected UTF-8 text; got byte 9", headers=typed("text/csv")),
    "csv with NaN": Bad(422, SCORE, "a,b,code\n1,2,0\nnan,2,0\n", "a: expected a finite", 1, typed("text/csv")),
    "csv with a zero": Bad(422, SCORE, b"a,b,code\n1,2,\x00\n", "", 0, typed("text/csv")),
    "csv empty": Bad(422, SCORE, "", "got 0 lines", headers=typed("text/csv")),
    "image that is none": Bad(422, SHADE, b"hello", "picture; got 5 bytes that do not decode", 0, typed("image/png")),
    "image empty": Bad(422, SHADE, b"", "got 0 bytes", 0, typed("image/png")),
    "image truncated": Bad(422, SHADE, noise()[:-400], "do not decode", 0, typed("image/png")),
    "image of a kind not taken": Bad(422, SHADE, picture("TIFF"), "expected a PNG, JPEG, WEBP, GIF, BMP picture", 0, typed("image/png")),
    "animated GIF": Bad(422, SHADE, animation(), "an animation of 3 frames", 0, typed("image/gif")),
    "base64 that is none": Bad(422, SHADE, inputs({"b64": "not base64!"}), "b64: expected base64; got 'not base64!'", 0),
    "base64 of no picture": Bad(422, SHADE, inputs(WHITE, b64(b"hello")), "picture; got 5 bytes", 1),
    "base64 a number": Bad(422, SHADE, inputs({"b64": 5}), "got keys ['b64']", 0),
    "b64 and more": Bad(422, SHADE, inputs({"b64": "", "url": "http://x"}), "got keys ['b64', 'url']", 0),
    "url": Bad(422, SHADE, inputs("http://localhost/a.png"), "got the string 'http", 0),
    "data URI without base64": Bad(422, SHADE, inputs("data:image/png,abc"), "got the string", 0),
    "pixels ragged": Bad(422, SHADE, inputs([[1, 2], [1]]), "pixels: expected rows of equal length", 0),
    "pixels of words": Bad(422, SHADE, inputs([["a"] * 4] * 4), "pixels: expected numbers", 0),
    "pixels null": Bad(422, SHADE, inputs([[None] * 4] * 4), "pixels: expected numbers", 0),
    "pixels too bright": Bad(422, SHADE, inputs([[256] * 4] * 4), "0 to 255; got 256 to 256", 0),
    "pixels negative": Bad(422, SHADE, inputs([[-1] * 4] * 4), "0 to 255; got -1", 0),
    "pixels flat": Bad(422, SHADE, inputs([1, 2, 3]), "got shape [3]", 0),
    "pixels of two channels": Bad(422, SHADE, inputs([[[1, 2]] * 4] * 4), "C of 1, 3 or 4; got shape [4, 4, 2]", 0),
    "pixels in four axes": Bad(422, SHADE, inputs([[[[1]]]]), "got shape [1, 1, 1, 1]", 0),
    "pixels nested a hundred deep": Bad(422, SHADE, '{"inputs": [' + "[" * 100 + "]" * 100 + "]}", "pixels", 0),
    "pixels empty": Bad(422, SHADE, inputs([]), "got shape [0]", 0),
    "pixels empty rows": Bad(422, SHADE, inputs([[], []]), "got shape [2, 0]", 0),
    "image a number": Bad(422, SHADE, inputs(5), "got 5", 0),
    "image null": Bad(422, SHADE, inputs(None), "got None", 0),
    "text a number": Bad(422, SAY, inputs("good", 5), "expected a string; got 5", 1),
    "text empty": Bad(422, SAY, inputs(""), "expected text with a word in it; got ''", 0),
    "text blank": Bad(422, SAY, inputs(" \n\t "), "expected text with a word", 0),
    "text not UTF-8": Bad(422, SAY, b"caf\xe9", "expected UTF-8 text; got byte 3", headers=typed("text/plain")),
    "text empty and raw": Bad(422, SAY, b"", "expected text with a word", 0, typed("text/plain")),
    "series too short": Bad(422, TIDE, inputs([[1, 2]] * 3), "expected at least 4 steps; got 3", 0),
    "series of one column": Bad(422, TIDE, inputs([[1]] * 4), "time × 2 ['height', 'speed']; got shape [4, 1]", 0),
    "series of an unknown column": Bad(422, TIDE, inputs({"height": [1], "weight": [2]}), "expected columns ['height', 'speed']; got ['height', 'weight']", 0),
    "series of unequal columns": Bad(422, TIDE, inputs({"height": [1] * 4, "speed": [2] * 5}), "equal length", 0),
    "series of words": Bad(422, TIDE, inputs([["a", "b"]] * 4), "series: expected numbers", 0),
    "series with null": Bad(422, TIDE, inputs([[1, None]] * 4), "series: expected numbers", 0),
    "series too large a number": Bad(422, TIDE, inputs([[1e39, 1]] * 4), "finite 32-bit", 0),
    "series a string": Bad(422, TIDE, inputs("up"), "got 'up'", 0),
    "csv of words": Bad(422, TIDE, "height,speed\n" + "up,down\n" * 4, "height: expected numbers", 0, typed("text/csv")),
    "generator item a list": Bad(422, STAMP, inputs([]), "expected {} … got a list of 0", 0),
    "generator field unknown": Bad(422, STAMP, inputs({"colour": 1}), "item.colour", 0),
    "label unknown": Bad(422, STAMP, inputs({}, parameters={"label": "z"}), "label: expected one of ['a', 'b']; got 'z'", 0),
    "label a number": Bad(422, STAMP, inputs({"label": 1}), "item.label: … got 1", 0),
    "seed negative": Bad(422, STAMP, inputs({"seed": -1}), "item.seed: … got -1", 0),
    "seed a fraction": Bad(422, STAMP, inputs({}, parameters={"seed": 1.5}), "parameters.seed: … got 1.5"),
    "seed too large": Bad(422, STAMP, inputs({"seed": 2**63 - 1, "n": 2}), "seed", 0),
    "n zero": Bad(422, STAMP, inputs({"n": 0}), "item.n: … got 0", 0),
    "n too many": Bad(422, STAMP, inputs({}, parameters={"n": 1025}), "parameters.n: … 1024; got 1025"),
    "truncation zero": Bad(422, STAMP, inputs({}, parameters={"truncation": 0}), "parameters.truncation"),
}  # fmt: skip

FAULTS = {
    "poison": Bad(500, SCORE, inputs([1, 2, 0], [1, 2, 99]), "inputs[1]: the model failed on this input", 1),
}  # fmt: skip

ALL = {
    f"{group}: {name}": bad
    for group, cases in (
        ("unreadable", UNREADABLE),
        ("unknown", UNKNOWN),
        ("too large", TOO_LARGE),
        ("media", UNREADABLE_MEDIA),
        ("mismatched", MISMATCHED),
        ("fault", FAULTS),
    )
    for name, bad in cases.items()
}


def check_good(server: Server) -> None:
    response = server.predict("score", "sensor", [1, 2, 0])
    assert response.status_code == 200
    assert response.json()["outputs"][0]["score"] == 3


def check_problem(server: Server, response: httpx.Response, status: int) -> dict[str, Any]:
    """A problem of RFC 9457, and nothing in it that is not for callers."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    body: dict[str, Any] = response.json()
    assert set(body) - {"index"} == {"type", "title", "status", "detail"}
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"]
    for secret in ("Traceback", "site-packages", ".py", str(server.store), "onnxruntime"):
        assert secret.lower() not in response.text.lower()
    assert len(response.text) < 1000
    return body


@pytest.mark.parametrize("name", ALL)
def test_bad_input_gets_its_problem_and_the_next_good_one_its_answer(
    server: Server, name: str
) -> None:
    bad = ALL[name]
    content = bad.body() if callable(bad.body) else bad.body
    response = server.client.request(
        bad.method, bad.path, content=content, headers=dict(bad.headers)
    )
    body = check_problem(server, response, bad.status)
    place = 0
    for words in bad.detail.split(" … "):
        assert words in body["detail"][place:]
        place = body["detail"].index(words, place) + len(words)
    assert body.get("index") == bad.index
    if bad.index is not None:
        assert body["detail"].startswith(f"inputs[{bad.index}]: ")
    check_good(server)


# --- odd, but good -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        picture("JPEG", "CMYK"),
        picture("JPEG", "RGB", progressive=True),
        picture("PNG", "I;16"),
        picture("PNG", "LA"),
        picture("PNG", "P", transparency=0),
        picture("PNG", "1", (1, 1)),
        picture("PNG", "L", (1, 5000)),
        picture("GIF", "P"),
        picture("WEBP", "RGBA"),
    ],
    ids=["CMYK", "progressive", "16 bit", "alpha", "palette", "1×1", "thin", "GIF", "WEBP"],
)
def test_odd_picture_is_answered(server: Server, content: bytes) -> None:
    response = server.client.post(SHADE, content=content, headers=typed("image/png"))
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["label"] in ("dark", "bright")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SCORE, inputs(*[[1, 2, 0]] * 10_000)),
        (SCORE, '{"inputs": [[1, 2, 0]], "inputs": [[2, 2, 0]]}'),
        (SCORE, inputs([-3.4e38, 1e-45, 0])),
        (SCORE, "  \n" + GOOD + "\n"),
        (SAY, inputs("good\x00bad")),
        (SAY, inputs("добрый 好 👍 \u202e")),
        (SAY, inputs("good " * 19_000, parameters={"truncate": True})),
        (SHADE, inputs([[0.5, 254.7], [3, 4]])),
        (TIDE, inputs([[1, 2]] * 100_000)),
    ],
    ids=["10,000 inputs", "field twice", "tiny and huge", "spaces", "zero in a text", "scripts",
         "long text cut", "fractions", "long series"],
)  # fmt: skip
def test_odd_request_is_answered(server: Server, path: str, body: str) -> None:
    response = server.client.post(path, content=body, headers=typed("application/json"))
    assert response.status_code == 200, response.text[:500]


def test_answer_that_is_no_number_is_null_and_still_json(server: Server) -> None:
    response = server.predict("score", "sensor", [3.4e38, 3.4e38, 0])
    assert response.status_code == 200
    assert response.json()["outputs"][0]["score"] is None


# --- below the protocol: lengths, chunks, halves -------------------------------------------------

HEAD = "POST /v1/models/sensor/score HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"


def test_announced_length_over_the_limit_is_refused_before_a_byte_of_it_is_read(
    server: Server,
) -> None:
    for length in (MAX_BODY_BYTES + 1, 10**15):
        response = server.raw(f"{HEAD}Content-Length: {length}\r\n\r\n".encode())
        body = check_problem(server, response, 413)
        assert f"got {length:,}" in body["detail"]
    check_good(server)


def test_announced_length_over_the_limit_is_not_invited_by_100_continue(server: Server) -> None:
    head = f"{HEAD}Expect: 100-continue\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    check_problem(server, server.raw(head.encode()), 413)


def test_chunked_body_over_the_limit_is_refused(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 2**16 + 1):
            yield b" " * 2**16

    response = server.client.post(SCORE, content=chunks(), headers=typed("application/json"))
    body = check_problem(server, response, 413)
    assert body["detail"] == f"expected a body of at most {MAX_BODY_BYTES:,} bytes; got more"
    check_good(server)


def test_chunked_body_within_the_limit_is_answered(server: Server) -> None:
    response = server.client.post(SCORE, content=iter([GOOD[:5].encode(), GOOD[5:].encode()]))
    assert response.status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: abc\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 1e3\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "No colon\r\n",
        "Content-Length : 5\r\n",
    ],
)
def test_request_that_is_not_http_is_refused(server: Server, head: str) -> None:
    check_not_http(server, f"{HEAD}{head}\r\n{GOOD}".encode())


@pytest.mark.parametrize(
    "noise",
    [
        b"BREW /v1/models HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"hello\r\n\r\n",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\nhello\r\n\r\n".encode(),
    ],
    ids=["method", "TLS", "HTTP/2", "path", "words", "chunk"],
)
def test_bytes_that_are_no_request_are_refused(server: Server, noise: bytes) -> None:
    check_not_http(server, noise)


def check_not_http(server: Server, request: bytes) -> None:
    response = server.raw(request)
    assert response.status_code == 400
    assert response.headers["connection"] == "close"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == "expected an HTTP/1.1 request; got something else"
    check_good(server)


def test_length_too_short_reads_that_much_and_no_more(server: Server) -> None:
    response = server.raw(f"{HEAD}Content-Length: 5\r\nConnection: close\r\n\r\n{GOOD}".encode())
    check_problem(server, response, 400)
    check_good(server)


def test_clients_that_send_nothing_do_not_stand_in_the_way(server: Server) -> None:
    with (
        socket.create_connection(server.address, PATIENCE_S),
        socket.create_connection(server.address, PATIENCE_S) as half,
    ):
        half.sendall(f"{HEAD}Content-Length: 100\r\n\r\n{{".encode())
        for _ in range(5):
            check_good(server)


# --- late and too many ---------------------------------------------------------------------------


def test_deadline_passed_on_a_slow_model_is_504(server: Server) -> None:
    response = server.client.post(
        "/v1/models/snail/score", content=inputs([3000, 1]), headers=extra(X_Timeout_Ms="1")
    )
    body = check_problem(server, response, 504)
    assert "deadline passed" in body["detail"]
    check_good(server)
    assert server.predict("score", "snail", [1, 7]).json()["outputs"][0]["score"] == 7


@pytest.fixture(scope="module")
def narrow(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with room for four waiting rows."""
    folder = tmp_path_factory.mktemp("narrow")
    with serving(server.store, folder, max_queue_rows=4) as narrow:
        yield narrow


def test_full_queue_is_503_with_retry_after_and_what_waits_is_answered(narrow: Server) -> None:
    def ask(rounds: int, *values: int) -> httpx.Response:
        items = [[rounds, value] for value in values]
        return httpx.post(
            f"{narrow.url}/v1/models/snail/score", json={"inputs": items}, timeout=PATIENCE_S
        )

    def pending() -> float:
        return narrow.metric("nv_inference_pending_request_count", model="snail")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        slow = pool.submit(ask, 8000, 1)
        while narrow.metric("modelhub_requests_in_flight") < 2:
            time.sleep(0.01)
        waits = pool.submit(ask, 1, 2, 3, 4, 5)
        for _ in patience():
            if pending() == 4:
                break
        refused = ask(1, 6)
        body = check_problem(narrow, refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert "4 rows are waiting" in body["detail"]
        assert narrow.client.get("/readyz").status_code == 200
        check_good(narrow)  # another model's queue is its own
        assert not slow.done()
        scores = [[o["score"] for o in ask.result().json()["outputs"]] for ask in (slow, waits)]
    assert scores == [[1], [2, 3, 4, 5]]
    assert ask(1, 7).status_code == 200


def test_more_than_the_queue_ever_holds_is_413_and_not_503(narrow: Server) -> None:
    response = narrow.predict("score", "sensor", *[[1, 2, 0]] * 5)
    body = check_problem(narrow, response, 413)
    assert "retry-after" not in response.headers
    assert body["detail"] == "expected at most 4 inputs; got 5"
    check_good(narrow)
