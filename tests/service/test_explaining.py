"""Explanations over a real socket: what each part of an item does to its answer."""

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_store.inputs.image import ImageInput
from service.explaining import rows_at_once
from tests.service.bundles import WEIGHTS, WORDS
from tests.service.server import Server


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def explain(server: Server, ref: str, *items: object, **parameters: object) -> list[dict[str, Any]]:
    body = {"inputs": list(items), "parameters": parameters}
    response = server.client.post(f"/v1/models/{ref}/explain", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["x-model-version"] == "1"
    assert "compute;dur=" in response.headers["server-timing"]
    found: list[dict[str, Any]] = response.json()["outputs"]
    return found


def refusal(server: Server, ref: str, item: object, **parameters: object) -> tuple[int, str]:
    body = {"inputs": [item], "parameters": parameters}
    response = server.client.post(f"/v1/models/{ref}/explain", json=body)
    return response.status_code, response.json()["detail"]


def explained(server: Server) -> dict[str, str]:
    """Each model that can be explained, and the verb that is."""
    listing = server.client.get("/v1/models").json()["data"]
    names = [entry["id"] for entry in listing if "explain" in entry["verbs"]]
    return {name: server.client.get(f"/v1/models/{name}").json()["explains"] for name in names}


def test_models_that_can_be_explained_say_so_and_others_refuse(server: Server) -> None:
    found = explained(server)
    assert {"shades": "predict", "sensor": "score", "words": "predict"}.items() <= found.items()
    assert "stamps" not in found  # it makes pictures
    status, detail = refusal(server, "stamps", {})
    assert status == 409
    assert detail == "stamps cannot explain; it can generate"


def test_contributions_add_up_to_the_answer_for_every_model_that_explains(server: Server) -> None:
    for name, verb in explained(server).items():
        signature = server.client.get(f"/v1/models/{name}").json()["signature"][verb]
        [found] = explain(server, name, signature["example"], rows=64)
        total = sum(part["contribution"] for part in found["contributions"])
        assert total == pytest.approx(found["value"] - found["baseline"], abs=1e-5), name
        assert found["target"]


def test_a_cell_of_a_table_adds_what_the_graph_adds_for_it(server: Server) -> None:
    """The graph says |a| + |b|; both are usually 0."""
    [found] = explain(server, "sensor", {"a": 0.25, "b": -0.5, "code": 3})
    assert found["target"] == "score"
    assert (found["value"], found["baseline"], found["exact"]) == (0.75, 0, True)
    assert found["contributions"] == [
        {"feature": "a", "value": 0.25, "usual": 0, "contribution": pytest.approx(0.25)},
        {"feature": "b", "value": -0.5, "usual": 0, "contribution": pytest.approx(0.5)},
        {"feature": "code", "value": 3, "usual": 0, "contribution": pytest.approx(0)},
    ]


def test_a_word_adds_what_its_weight_does_to_the_sigmoid(server: Server) -> None:
    [found] = explain(server, "words", "good bad", target="positive")
    good, bad, unknown = (WEIGHTS[WORDS.index(word)] for word in ("good", "bad", "[UNK]"))

    def positive(first: float, second: float) -> float:
        return 1 / (1 + math.exp(-(first + second) / 2))

    alone = positive(good, unknown) - positive(unknown, unknown)
    after = positive(good, bad) - positive(unknown, bad)
    first, second = found["contributions"]
    assert (first["text"], second["text"]) == ("good", "bad")
    assert first["contribution"] == pytest.approx((alone + after) / 2, abs=1e-6)
    assert found["value"] == pytest.approx(0.5, abs=1e-6)


def test_a_picture_has_a_map_and_names_each_cell(server: Server) -> None:
    """It is said to be as bright as the mean of its pixels, so the bright half explains it."""
    picture = np.zeros((40, 20), np.uint8)
    picture[:10] = 255
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    response = server.client.post(
        "/v1/models/shades/explain?target=bright&rows=128",
        content=buffer.getvalue(),
        headers={"Content-Type": "image/png"},
    )
    [found] = response.json()["outputs"]
    assert found["target"] == "bright"
    cells = {tuple(part["box"]): part["contribution"] for part in found["contributions"]}
    assert len(cells) == 16
    assert min(v for box, v in cells.items() if box[1] == 0) > 0
    assert max(v for box, v in cells.items() if box[1] > 0) < 0
    heat = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["map"]["b64"]))))
    assert heat.shape == (4, 4)
    assert heat[0].min() > 200
    assert not heat[2:].any()


def test_the_answers_own_label_is_explained_where_none_is_named(server: Server) -> None:
    dark, bright = explain(server, "shades", [[0] * 4] * 4, [[255] * 4] * 4)
    assert (dark["target"], bright["target"]) == ("dark", "bright")
    assert dark["value"] == bright["value"] == 1


def test_rows_of_a_large_picture_are_asked_a_few_at_a_time() -> None:
    kind = ImageInput()
    for side, rows in ((32, 64), (2000, 5), (6000, 1)):
        parts = kind.divider(Path())(png(side), kind.parameters())
        assert rows_at_once(parts) == rows


def test_the_same_seed_gives_the_same_explanation(server: Server) -> None:
    picture = np.arange(16).reshape(4, 4).tolist()
    first, second = (explain(server, "shades", picture, rows=100, seed=4) for _ in range(2))
    assert first == second


def test_more_rows_than_share_a_run_are_explained_as_well(server: Server) -> None:
    """Its graph takes 8 rows in one run."""
    [found] = explain(server, "words", "good bad fine poor good bad fine", rows=200)
    assert found["exact"]
    assert len(found["contributions"]) == 7


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"target": "grey"}, "parameters.target: expected one of ['dark', 'bright']; got 'grey'"),
        ({"rows": 1}, "parameters.rows"),
        ({"rows": 10**6}, "parameters.rows"),
        ({"seed": -1}, "parameters.seed"),
        ({"top_k": 3}, "['rows', 'seed', 'target']"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_parameter_that_means_nothing_is_refused_by_name(
    server: Server, parameters: dict[str, object], words: str
) -> None:
    status, detail = refusal(server, "shades", [[0] * 4] * 4, **parameters)
    assert status == 422
    assert words in detail


def test_an_item_that_does_not_fit_is_named(server: Server) -> None:
    body = {"inputs": [[1, 2, 0], [1, "two", 0]]}
    response = server.client.post("/v1/models/sensor/explain", json=body)
    assert response.status_code == 422
    assert response.json()["index"] == 1
    assert "b: expected a number; got 'two'" in response.json()["detail"]


def test_a_graph_that_fails_without_some_parts_fails_the_request_only(server: Server) -> None:
    status, detail = refusal(server, "sensor", {"a": 1, "b": 1, "code": 11})
    assert status == 500
    assert "failed on this input" in detail
    assert explain(server, "sensor", [1, 2, 0])[0]["value"] == 3


def test_a_deadline_ends_an_explanation(server: Server) -> None:
    response = server.client.post(
        "/v1/models/words/explain",
        json={"inputs": ["good bad " * 4] * 50, "parameters": {"rows": 8192, "truncate": True}},
        headers={"X-Timeout-Ms": "30"},
    )
    assert response.status_code == 504
    assert explain(server, "words", "good")[0]["target"] == "positive"
