"""The OpenAPI page is valid, the server keeps to it, and no request gets a 500 out of it."""

import copy
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.service.bundles import MAKERS, publish, sensor, snail
from tests.service.server import PATIENCE_S, Server, serving
from tests.service.talkers import letters

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def pictures() -> list[bytes]:
    made = []
    for kind, mode in (("PNG", "L"), ("PNG", "P"), ("JPEG", "RGB"), ("GIF", "P"), ("WEBP", "RGBA")):
        buffer = io.BytesIO()
        Image.effect_noise((9, 7), 80).convert(mode).save(buffer, kind)
        made.append(buffer.getvalue())
    return made


PICTURES = pictures()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose models all answer whatever passes their checks: no poison, no snail."""
    root = tmp_path_factory.mktemp("fuzzed")
    for maker in (*MAKERS.values(), letters):
        if maker not in (sensor, snail):
            publish(root, maker)
    with serving(root, tmp_path_factory.mktemp("server"), max_items=200) as server:
        yield server


@pytest.fixture(scope="module")
def page(fuzzed: Server) -> OpenApiSchema:
    return schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")


def test_page_is_valid_openapi(page: OpenApiSchema) -> None:
    page.validate()
    broken = copy.deepcopy(page.raw_schema)
    broken["paths"]["/v1/models"]["get"]["responses"] = 5
    with pytest.raises(Exception, match="responses"):
        schemathesis.openapi.from_dict(broken).validate()


@settings(max_examples=150)
@given(data=st.data())
def test_server_keeps_to_its_page(page: OpenApiSchema, data: st.DataObject) -> None:
    case = data.draw(page.as_strategy())
    response = case.call(timeout=PATIENCE_S)
    case.validate_response(response, checks=CHECKS)
    assert response.status_code != 500


# --- examples, spoilt --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
REFUSALS = {400, 404, 409, 413, 415, 422}
"""A model's name stands in some bodies: spoilt, it is another model's or nobody's."""


def examples(page: OpenApiSchema) -> list[tuple[str, Any]]:
    """Every path that shows bodies, with the model's name in it where it goes, and each body."""
    found = []
    for path, item in page.raw_schema["paths"].items():
        content = item.get("post", {}).get("requestBody", {}).get("content", {})
        for name, example in content.get("application/json", {}).get("examples", {}).items():
            body = example["value"]
            native: dict[str, Any] = {"parameters": {}} if "{ref}" in path else {}
            found.append((path.format(ref=name, name=name), {**body, **native}))
    return found


def spoil(data: st.DataObject, value: Any) -> Any:
    """The same with something else in one place of it."""
    deeper = isinstance(value, (list, dict)) and value and data.draw(st.integers(0, 3))
    if not deeper:
        return data.draw(JSON)
    copied = copy.copy(value)
    place = data.draw(
        st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value)))
    )
    what = data.draw(st.sampled_from(["spoil", "spoil", "drop", "double"]))
    if what == "drop":
        del copied[place]
    elif what == "double" and isinstance(copied, list):
        copied.insert(place, copied[place])
    else:
        copied[place] = spoil(data, copied[place])
    return copied


def check(response: httpx.Response) -> None:
    """An answer, or a refusal that says why, each in its protocol's shape."""
    path = response.request.url.path
    if response.status_code == 200:
        if response.headers["content-type"].startswith("text/event-stream"):
            assert response.text.startswith("data: {")
        else:
            assert {"outputs", "choices", "data", "text_output"} & set(response.json())
        return
    assert response.status_code in REFUSALS, response.text
    body = response.json()
    if path.startswith("/v2"):
        detail = body["error"]
    elif path.startswith("/v1/models"):
        assert body["status"] == response.status_code
        detail = body["detail"]
    else:
        detail = body["error"]["message"]
    assert 0 < len(detail) < 1000


def test_every_body_shown_for_another_protocol_works_as_it_stands(
    fuzzed: Server, page: OpenApiSchema
) -> None:
    shown = set()
    for path, body in examples(page):
        if "/models/" in path and path.startswith("/v1"):
            continue  # the native protocol's; tests/service/protocols/test_native.py asks them
        response = fuzzed.client.post(path, json=body)
        assert response.status_code == 200, response.text
        check(response)
        shown.add((path.rpartition("/")[2], body.get("model")))
    assert shown == {
        ("completions", "reciter"), ("embeddings", "letters"), ("generations", "stamps"),
        ("generations", "codec"), ("generations", "inks"), ("generate", None),
        ("generate_stream", None),
    }  # fmt: skip


@settings(max_examples=300)
@given(data=st.data())
def test_spoilt_example_is_answered_or_refused(
    fuzzed: Server, page: OpenApiSchema, data: st.DataObject
) -> None:
    path, example = data.draw(st.sampled_from(examples(page)))
    body = spoil(data, example)
    headers = {"Content-Type": "application/json"}
    check(fuzzed.client.post(path, content=json.dumps(body), headers=headers))


@settings(max_examples=150)
@given(data=st.data())
def test_spoilt_bytes_are_answered_or_refused(
    fuzzed: Server, page: OpenApiSchema, data: st.DataObject
) -> None:
    path, example = data.draw(st.sampled_from(examples(page)))
    content = bytearray(json.dumps(example).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    media_type = data.draw(
        st.sampled_from(
            ["application/json", "text/csv", "text/plain", "image/png", "multipart/form-data", ""]
        )
    )
    check(fuzzed.client.post(path, content=bytes(content), headers={"Content-Type": media_type}))


@settings(max_examples=150)
@given(data=st.data())
def test_spoilt_picture_is_answered_or_refused(fuzzed: Server, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(PICTURES)))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([None, -1, -20, 40]))
    check(
        fuzzed.client.post(
            "/v1/models/shades/predict",
            content=bytes(content[:cut]),
            headers={"Content-Type": "image/png"},
        )
    )


@settings(max_examples=150)
@given(data=st.data())
def test_spoilt_form_is_answered_or_refused(fuzzed: Server, data: st.DataObject) -> None:
    form = bytearray(
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + PICTURES[0] + b"\r\n--x\r\n"
        b'Content-Disposition: form-data; name="parameters"\r\n\r\n{"top_k": 1}\r\n--x--\r\n'
    )
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(form)))
        form[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    boundary = data.draw(
        st.sampled_from(["x", "x", "x", "", '"x', "x; charset=nonsense", "y" * 300])
    )
    check(
        fuzzed.client.post(
            "/v1/models/shades/predict",
            content=bytes(form),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
    )
