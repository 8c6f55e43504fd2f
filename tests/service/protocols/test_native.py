"""The native protocol over a real socket: every body, every route, and its documentation."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model_store.manifest import Manifest
from tests.service.bundles import publish, sensor, shades
from tests.service.conftest import Start
from tests.service.odd_bundles import crowd, greedy, plain
from tests.service.server import Server, serving

Publish = Callable[..., Manifest]
PREDICT_SHADE = "/v1/models/shades/predict"


def picture(level: int, kind: str = "PNG", size: tuple[int, int] = (6, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, level).save(buffer, kind)
    return buffer.getvalue()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def outputs(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["outputs"]
    return found


# --- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        [[255] * 4] * 4,
        [[255] * 9] * 5,
        [[[255]] * 4] * 4,
        [[[255, 255, 255]] * 4] * 4,
        {"b64": b64(picture(255))},
        "data:image/png;base64," + b64(picture(255)),
    ],
    ids=["pixels", "larger", "one channel", "three channels", "b64", "data URI"],
)
def test_image_comes_in_every_form_the_contract_lists(server: Server, item: object) -> None:
    answer = outputs(server.predict("predict", "shades", item))[0]
    assert answer["label"] == "bright"
    assert answer["score"] == pytest.approx(1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_raw_picture_is_the_whole_body(server: Server, kind: str) -> None:
    response = server.client.post(
        PREDICT_SHADE,
        content=picture(255, kind),
        headers={"Content-Type": f"image/{kind.lower()}"},
    )
    assert outputs(response)[0]["label"] == "bright"


def test_json_is_read_whatever_its_content_type_says_of_the_charset(server: Server) -> None:
    body = json.dumps({"inputs": [[1, 2, 0]]}).encode()
    for media_type in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        response = server.client.post(
            "/v1/models/sensor/score", content=body, headers={"Content-Type": media_type}
        )
        assert outputs(response)[0]["score"] == 3
    assert outputs(server.client.post("/v1/models/sensor/score", content=body))[0]["score"] == 3


def test_raw_text_is_one_item_and_raw_csv_a_row_an_item(server: Server) -> None:
    said = server.client.post(
        "/v1/models/words/predict", content="good fine", headers={"Content-Type": "text/plain"}
    )
    assert outputs(said)[0]["label"] == "positive"
    table = server.client.post(
        "/v1/models/sensor/score",
        content="b,a,code\n1,2,0\n3,4,0\n",
        headers={"Content-Type": "text/csv; charset=utf-8"},
    )
    assert [answer["score"] for answer in outputs(table)] == [3, 7]
    series = server.client.post(
        "/v1/models/tide/predict",
        content="height,speed\n" + "".join(f"{k},{10 * k}\n" for k in range(6)),
        headers={"Content-Type": "text/csv"},
    )
    assert outputs(series)[0]["values"] == [[5, 50]] * 3


def test_form_holds_files_and_parameters(server: Server) -> None:
    files = [
        ("file", ("dark.png", picture(0), "image/png")),
        ("file", ("bright.jpg", picture(255, "JPEG"), "image/jpeg")),
        ("file", ("untyped", picture(255), "application/octet-stream")),
    ]
    response = server.client.post(
        PREDICT_SHADE, files=files, data={"parameters": json.dumps({"top_k": 1})}
    )
    answers = outputs(response)
    assert [answer["label"] for answer in answers] == ["dark", "bright", "bright"]
    assert [len(answer["top"]) for answer in answers] == [1, 1, 1]


def test_forms_parameters_may_be_a_file_too(server: Server) -> None:
    files = [
        ("file", ("a.png", picture(0), "image/png")),
        ("parameters", ("parameters.json", b'{"top_k": 1}', "application/json")),
    ]
    assert len(outputs(server.client.post(PREDICT_SHADE, files=files))[0]["top"]) == 1


def test_large_file_of_a_form_arrives_whole(server: Server) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1300), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "BMP")
    assert len(buffer.getvalue()) > 1024 * 1024  # over this, the form's parts lie on disk
    response = server.client.post(
        PREDICT_SHADE, files=[("file", ("noise.bmp", buffer.getvalue(), "image/bmp"))]
    )
    assert outputs(response)[0]["score"] == pytest.approx(0.5, abs=0.05)


def test_parameters_come_in_the_body_in_the_query_or_in_both(server: Server) -> None:
    body = {"inputs": [[[9] * 4] * 4]}
    both = {**body, "parameters": {"top_k": 2}}

    def top(response: httpx.Response) -> int:
        return len(outputs(response)[0]["top"])

    assert top(server.client.post(PREDICT_SHADE, json=body)) == 2
    assert top(server.client.post(PREDICT_SHADE, json=body, params={"top_k": 1})) == 1
    assert top(server.client.post(PREDICT_SHADE, json=both, params={"top_k": 1})) == 2
    raw = server.client.post(
        PREDICT_SHADE,
        params={"top_k": 1},
        content=picture(9),
        headers={"Content-Type": "image/png"},
    )
    assert top(raw) == 1


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b""},
        {"json": {}},
        {"json": {"inputs": [{}]}},
        {"json": {"parameters": {"label": "b"}}},
        {"params": {"label": "b", "seed": "3"}},
        {"files": [("parameters", (None, '{"label": "b"}'))]},
    ],
    ids=["empty", "{}", "one item", "parameters", "query", "form"],
)
def test_generator_needs_no_item(server: Server, request_: dict[str, Any]) -> None:
    answers = outputs(server.client.post("/v1/models/stamps/generate", **request_))
    assert len(answers) == 1
    image = answers[0]["images"][0]
    drawn = Image.open(io.BytesIO(base64.b64decode(image["b64"])))
    assert drawn.size == (4, 2)
    assert image["label"] in ("a", "b")
    assert image["seed"] >= 0


def test_same_seed_draws_the_same_picture(server: Server) -> None:
    def draw(**parameters: Any) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = outputs(
            server.predict("generate", "stamps", {}, **parameters)
        )[0]["images"]
        return images

    assert draw(seed=5, n=3) == draw(seed=5, n=3)
    assert draw(seed=5, n=3)[1] == draw(seed=6)[0]
    assert draw(seed=5, label="a") != draw(seed=5, label="b")
    assert draw()[0]["seed"] != draw()[0]["seed"]


def test_answers_stand_in_the_order_of_the_items(server: Server) -> None:
    rows = [[value, 0, 0] for value in range(40)]
    body = server.predict("score", "sensor", *rows).json()
    assert (body["model"], body["version"]) == ("sensor", 1)
    assert [answer["score"] for answer in body["outputs"]] == list(range(40))


def test_every_kind_of_answer_has_its_contracts_fields(server: Server) -> None:
    fields = {
        ("shades", "predict"): {"label", "score", "top"},
        ("shades", "embed"): {"vector"},
        ("sensor", "score"): {"score", "threshold", "anomalous", "contributions"},
        ("tide", "predict"): {"values", "lower", "upper"},
        ("windows", "predict"): {"boxes"},
        ("silhouette", "predict"): {"mask", "labels", "share"},
        ("spots", "score"): {"score", "threshold", "anomalous", "contributions", "map"},
        ("stamps", "generate"): {"images"},
        ("negative", "generate"): {"images"},
        ("tones", "predict"): {"text", "words"},
        ("pilot", "predict"): {"action", "probabilities"},
    }
    for (ref, verb), expected in fields.items():
        signature = server.client.get(f"/v1/models/{ref}").json()["signature"][verb]
        answer = outputs(server.predict(verb, ref, signature["example"]))[0]
        assert set(answer) == expected, ref


# --- headers -----------------------------------------------------------------------------------


def test_headers_tell_version_time_and_request(server: Server) -> None:
    response = server.client.post(
        "/v1/models/sensor/score",
        json={"inputs": [[1, 2, 0]]},
        headers={"X-Request-Id": "native-1", "X-Timeout-Ms": "20000", "X-Priority": "High"},
    )
    assert response.status_code == 200
    assert response.headers["x-model-version"] == "1"
    assert response.headers["x-request-id"] == "native-1"
    assert response.headers["server-timing"].startswith("queue;dur=")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("priority", ["high", "normal", "low", "LOW"])
@pytest.mark.parametrize("timeout", ["1000", "3600000", "0005000"])
def test_good_headers_are_taken(server: Server, priority: str, timeout: str) -> None:
    headers = {"X-Priority": priority, "X-Timeout-Ms": timeout}
    body = {"inputs": [[1, 2, 0]]}
    assert (
        server.client.post("/v1/models/sensor/score", json=body, headers=headers).status_code == 200
    )


# --- listing -----------------------------------------------------------------------------------

ALL = [
    "codec", "inks", "negative", "pilot", "reciter", "sensor", "shades", "silhouette", "snail",
    "spots", "stamps", "tide", "tones", "windows", "words",
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ALL),
        ({"family": "gan"}, ["inks", "stamps"]),
        ({"family": "autoencoder"}, ["codec", "sensor"]),
        ({"category": "vision"}, ["codec", "inks", "shades", "stamps"]),
        ({"task": "sentiment"}, ["words"]),
        ({"category": "control"}, ["pilot"]),
        ({"state": "ready"}, ALL),
        ({"state": "failed"}, []),
        ({"q": "KIND words"}, ["words"]),
        ({"q": "forecast"}, ["tide"]),
        ({"q": "shad"}, ["shades"]),
        ({"q": "nothing like it"}, []),
        ({"q": ""}, ALL),
        ({"family": "autoencoder", "category": "vision"}, ["codec"]),
        ({"family": "cnn", "q": "dark"}, ["shades"]),
        ({"family": "cnn", "q": "rnn"}, []),
    ],
)
def test_listing_keeps_what_every_filter_keeps(
    server: Server, query: dict[str, str], expected: list[str]
) -> None:
    response = server.client.get("/v1/models", params=query)
    assert response.status_code == 200
    assert response.json()["object"] == "list"
    assert [entry["id"] for entry in response.json()["data"]] == expected


@pytest.mark.parametrize(
    "query", [{"family": "dog"}, {"category": ""}, {"state": "happy"}, {"colour": "red"}]
)
def test_listing_refuses_a_filter_it_does_not_know(server: Server, query: dict[str, str]) -> None:
    response = server.client.get("/v1/models", params=query)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"].startswith(next(iter(query)))


def test_one_model_tells_all_about_itself(server: Server) -> None:
    body = server.client.get("/v1/models/shades").json()
    listed = server.client.get("/v1/models", params={"q": "shades"}).json()["data"][0]
    assert {key: body[key] for key in listed} == listed
    assert set(body["signature"]) == {"predict", "embed"}
    assert (body["provider"], body["device"]) == ("CPUExecutionProvider", "cpu")
    assert body["signature"]["predict"]["input"]["height"] == 4
    assert body["signature"]["predict"]["answer"]["labels"] == ["dark", "bright"]
    assert body["graphs"]["model"]["file"] == "model.onnx"
    assert body["card"].startswith("# Shades")
    assert body["provenance"]["recipe"] == "by_hand"
    assert body["metrics"] == {"accuracy": 0.75}
    assert body["baselines"] == {"guess": {"accuracy": 0.5}}
    assert body["evaluation"] == "by hand"
    assert "parity" in body
    assert server.client.get("/v1/models/shades@1").json()["id"] == "shades"
    assert server.client.get("/v1/models/codec").json()["card"] == ""


# --- files -------------------------------------------------------------------------------------


def test_every_listed_file_is_served(server: Server) -> None:
    body = server.client.get("/v1/models/shades").json()
    assert len(body["files"]) == 3
    for path in body["files"]:
        response = server.client.get(path)
        assert response.status_code == 200
        assert response.headers["x-content-type-options"] == "nosniff"
        name = path.partition("/files/")[2]
        assert response.content == (server.store / "shades" / "1" / name).read_bytes()
    drawn = server.client.get("/v1/models/shades/files/pictures/curve.png")
    assert drawn.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "name",
    [
        "nothing.png",
        "manifest.json",
        "pictures",
        "pictures/",
        "../../sensor/1/model.onnx",
        "..%2F..%2Fsensor%2F1%2Fmodel.onnx",
        "%2e%2e/%2e%2e/sensor/1/model.onnx",
        "pictures/../card.md",
        "./card.md",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "card.md%00.png",
        "....//card.md",
    ],
)
def test_file_that_is_not_listed_is_not_found(server: Server, name: str) -> None:
    # Sent as it stands: a client library would tidy the path.
    response = server.raw(
        f"GET /v1/models/shades/files/{name} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    )
    assert response.status_code == 404, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert "root:" not in response.text


# --- aliases -----------------------------------------------------------------------------------


@pytest.fixture
def own(root: Path, put: Publish, start: Start) -> Server:
    """A server over two versions of one model, for tests that change the hub."""
    put(sensor)
    put(sensor)
    put(shades)
    return start(root)


def test_alias_is_put_moved_and_deleted(own: Server) -> None:
    path = "/v1/models/sensor/aliases/stable"

    def version(ref: str = "sensor") -> int:
        response = own.predict("score", ref, [1, 2, 0])
        assert response.status_code == 200
        assert response.headers["x-model-version"] == str(response.json()["version"])
        found: int = response.json()["version"]
        return found

    assert version() == 2
    response = own.client.put(path, json={"version": 1})
    assert response.status_code == 200
    assert response.json() == {"name": "sensor", "aliases": {"stable": 1}}
    assert version() == 1
    assert version("sensor@stable") == 1
    assert own.client.get("/v1/models/sensor").json()["aliases"] == {"stable": 1}
    assert own.client.put(path, json={"version": 2}).json()["aliases"] == {"stable": 2}
    assert version() == 2
    assert own.client.delete(path).json() == {"name": "sensor", "aliases": {}}
    assert own.client.delete(path).status_code == 404
    assert version() == 2

    other = "/v1/models/sensor/aliases/candidate"
    assert own.client.put(other, json={"version": 1}).status_code == 200
    assert version() == 2
    assert version("sensor@candidate") == 1
    assert own.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models/shades/aliases/stable", b'{"version": 9}', 404),
        ("/v1/models/nothing/aliases/stable", b'{"version": 1}', 404),
        ("/v1/models/shades/aliases/7", b'{"version": 1}', 404),
        ("/v1/models/shades/aliases/Stable", b'{"version": 1}', 404),
        ("/v1/models/shades/aliases/stable", b'{"version": "1"}', 400),
        ("/v1/models/shades/aliases/stable", b'{"version": true}', 400),
        ("/v1/models/shades/aliases/stable", b'{"version": 1, "more": 2}', 400),
        ("/v1/models/shades/aliases/stable", b'{"version": -1}', 404),
        ("/v1/models/shades/aliases/stable", b'{"version": 99999999999999999999}', 400),
        ("/v1/models/shades/aliases/stable", b"{}", 400),
        ("/v1/models/shades/aliases/stable", b"[1]", 400),
        ("/v1/models/shades/aliases/stable", b"", 400),
        ("/v1/models/shades/aliases/stable", b"{", 400),
    ],
)
def test_bad_alias_is_refused_and_nothing_moves(
    server: Server, path: str, body: bytes, status: int
) -> None:
    response = server.client.put(path, content=body)
    assert response.status_code == status, response.text
    assert response.json()["status"] == status
    assert server.client.get("/v1/models/shades").json()["aliases"] == {}


def test_version_published_while_serving_is_served_by_its_number(
    root: Path, put: Publish, start: Start
) -> None:
    put(sensor)
    server = start(root, repository="all")  # nothing but the request brings it in
    put(sensor)
    assert server.predict("score", "sensor", [1, 2, 0]).json()["version"] == 1
    assert server.predict("score", "sensor@2", [1, 2, 0]).json()["version"] == 2
    assert server.client.get("/v1/models/sensor").json()["versions"] == [1, 2]


# --- plain graphs, and what does not fit ---------------------------------------------------------


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over graphs without a manifest, and over a bundle that may ask for too much."""
    root = tmp_path_factory.mktemp("odd")
    plain(root / "adder" / "3", adds=0.5)
    plain(root / "pair" / "1", rows=2)
    plain(root / "wide" / "1", columns=20_000)
    publish(root, greedy)
    publish(root, crowd)
    with serving(root, tmp_path_factory.mktemp("odd-server")) as server:
        yield server


def test_plain_graph_takes_and_gives_its_tensors(odd: Server) -> None:
    answers = outputs(odd.predict("predict", "adder", [1, 2], {"x": [3, 4]}))
    assert answers == [{"outputs": {"y": [1.5, 2.5]}}, {"outputs": {"y": [3.5, 4.5]}}]
    whole = outputs(odd.predict("predict", "pair", [[1, 2], [3, 4]]))
    assert whole == [{"outputs": {"y": [[2, 3], [4, 5]]}}]


def test_plain_graph_is_listed_with_what_was_inferred_of_it(odd: Server) -> None:
    body = odd.client.get("/v1/models/adder").json()
    assert (body["version"], body["versions"], body["state"]) == (3, [3], "ready")
    assert body["provenance"] is None
    assert any("share a run" in line for line in body["inferred"])
    assert body["license"] == "unknown"
    assert body["input"]["kind"] == body["answer"]["kind"] == "tensor"
    assert odd.client.get("/v1/models/greedy").json()["inferred"] == []


def test_example_too_large_to_show_is_not_shown(odd: Server) -> None:
    page = odd.client.get("/openapi.json").json()
    content = page["paths"]["/v1/models/{ref}/predict"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert set(examples) == {"adder", "pair"}
    for name, example in examples.items():
        path = f"/v1/models/{name}/predict"
        assert odd.client.post(path, json=example["value"]).status_code == 200
    row = [0.0] * 20_000
    assert outputs(odd.predict("predict", "wide", row))[0]["outputs"]["y"] == [1.0] * 20_000


def test_listing_says_how_many_rows_share_a_run_and_why_none_do(odd: Server) -> None:
    entries = {entry["id"]: entry for entry in odd.client.get("/v1/models").json()["data"]}
    assert entries["pair"]["batching"] == {
        "max_rows": 1, "reason": "input x has a fixed first axis of 2"
    }  # fmt: skip
    assert entries["crowd"]["batching"]["max_rows"] == 1
    assert "differs from its answer alone" in entries["crowd"]["batching"]["reason"]
    assert "reason" not in entries["adder"]["batching"]


def test_rows_that_do_not_fit_the_memory_together_are_all_answered(odd: Server) -> None:
    scores = [
        a["score"] for a in outputs(odd.predict("score", "greedy", *[[1, k] for k in range(20)]))
    ]
    assert scores == list(range(20))


def test_row_that_does_not_fit_the_memory_alone_is_507(odd: Server) -> None:
    response = odd.predict("score", "greedy", [5, 1])
    assert response.status_code == 507
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["title"] == "No room in memory"
    assert "retry-after" not in response.headers
    assert outputs(odd.predict("score", "greedy", [1, 7]))[0]["score"] == 7


def test_model_that_does_not_fit_the_budget_is_507_and_the_rest_serve(
    root: Path, put: Publish, start: Start
) -> None:
    put(sensor)
    small = (root / "sensor" / "1" / "model.onnx").stat().st_size
    server = start(root, max_memory_bytes=small - 1)
    response = server.predict("score", "sensor", [1, 2, 0])
    assert response.status_code == 507
    assert f"the memory budget is {small - 1:,}" in response.json()["detail"]
    assert server.client.get("/v1/models/sensor").json()["state"] == "unloaded"
    assert server.client.get("/livez").status_code == 200


def test_model_whose_files_were_changed_is_503_and_says_which(
    root: Path, put: Publish, tmp_path: Path
) -> None:
    put(sensor)
    with (root / "sensor" / "1" / "model.onnx").open("ab") as file:
        file.write(b"more")
    with serving(root, tmp_path, strict_readiness=False) as server:
        response = server.predict("score", "sensor", [1, 2, 0])
        assert response.status_code == 503
        assert "model.onnx was changed" in response.json()["detail"]
        assert int(response.headers["retry-after"]) >= 1


# --- OpenAPI -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def openapi(server: Server) -> dict[str, Any]:
    response = server.client.get("/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def test_every_route_of_the_contract_is_documented(openapi: dict[str, Any]) -> None:
    routes = {(method, path) for path, item in openapi["paths"].items() for method in item}
    assert {
        ("get", "/v1/models"),
        ("get", "/v1/models/{ref}"),
        ("post", "/v1/models/{ref}/predict"),
        ("post", "/v1/models/{ref}/generate"),
        ("post", "/v1/models/{ref}/score"),
        ("post", "/v1/models/{ref}/embed"),
        ("post", "/v1/models/{ref}/explain"),
        ("put", "/v1/models/{name}/aliases/{alias}"),
        ("delete", "/v1/models/{name}/aliases/{alias}"),
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    } <= routes


def test_every_verb_of_every_model_has_an_example_and_each_works_as_it_stands(
    server: Server, openapi: dict[str, Any]
) -> None:
    shown = set()
    for path, item in openapi["paths"].items():
        if "{ref}" not in path:
            continue  # another protocol's
        verb = path.rpartition("/")[2]
        content = item.get("post", {}).get("requestBody", {}).get("content", {})
        for name, example in content.get("application/json", {}).get("examples", {}).items():
            response = server.client.post(path.format(ref=name), json=example["value"])
            assert response.status_code == 200, response.text
            assert len(response.json()["outputs"]) == 1
            shown.add((name, verb))
    models = server.client.get("/v1/models").json()["data"]
    assert shown == {(entry["id"], verb) for entry in models for verb in entry["verbs"]}


def test_references_shown_are_models_that_can(openapi: dict[str, Any]) -> None:
    parameters = openapi["paths"]["/v1/models/{ref}/generate"]["post"]["parameters"]
    ref = next(parameter for parameter in parameters if parameter["name"] == "ref")
    assert set(ref["examples"]) == {"codec", "inks", "negative", "reciter", "stamps"}


def test_errors_are_documented_in_the_shape_they_come_in(openapi: dict[str, Any]) -> None:
    text = json.dumps(openapi)
    assert "HTTPValidationError" not in text  # FastAPI's own shape, which no answer here has
    for path, item in openapi["paths"].items():
        native = path.startswith("/v1/models")
        shape = "application/problem+json" if native else "application/json"
        for operation in item.values():
            for status, response in operation["responses"].items():
                if status == "default" or (status[0] in "45" and "/v1" in str(operation)):
                    assert list(response["content"]) == [shape]


def test_docs_page_is_there(server: Server) -> None:
    response = server.client.get("/docs")
    assert response.status_code == 200
    assert "openapi.json" in response.text


def test_openapi_follows_what_is_loaded(root: Path, put: Publish, tmp_path: Path) -> None:
    put(sensor)
    with serving(root, tmp_path) as server:
        path = "/v1/models/{ref}/predict"
        content = server.client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]
        assert content["content"]["application/json"]["examples"] == {}
        put(shades)
        assert server.predict("predict", "shades", [[0] * 4] * 4).status_code == 200
        content = server.client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]
        assert set(content["content"]["application/json"]["examples"]) == {"shades"}
        assert "image/png" in content["content"]
