"""Pictures over the native protocol: each way to send one; answers in the size that was sent."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.server import Server

WIDTH, HEIGHT = 8, 4
LEFT_HALF = np.repeat([[255, 0]], WIDTH // 2, axis=1).repeat(HEIGHT, axis=0).astype(np.uint8)


def file(pixels: Any = LEFT_HALF) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(picture: dict[str, str]) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["b64"]))))


B64 = base64.b64encode(file()).decode()
each_way = pytest.mark.parametrize(
    "given",
    [
        {"json": {"inputs": [LEFT_HALF.tolist()]}},
        {"json": {"inputs": [{"b64": B64}]}},
        {"json": {"inputs": [f"data:image/png;base64,{B64}"]}},
        {"content": file(), "headers": {"Content-Type": "image/png"}},
        {"files": {"file": ("a.png", file(), "image/png")}},
    ],
    ids=["pixels", "b64", "data URI", "raw", "form"],
)


def ask(server: Server, model: str, verb: str, given: dict[str, Any]) -> dict[str, Any]:
    response = server.client.post(f"/v1/models/{model}/{verb}", **given)
    assert response.status_code == 200, response.text
    [output] = response.json()["outputs"]
    return dict(output)


@each_way
def test_boxes_are_in_pixels_of_the_picture_that_was_sent(
    server: Server, given: dict[str, Any]
) -> None:
    half, quarter = ask(server, "windows", "predict", given)["boxes"]
    assert half == {"label": "sky", "score": pytest.approx(0.5, abs=0.01), "box": [0, 0, 8, 2]}
    assert (quarter["label"], quarter["box"]) == ("door", [4, 2, 8, 4])


def test_how_sure_boxes_must_be_and_how_many_there_are_may_be_said(server: Server) -> None:
    def labels(**parameters: Any) -> list[str]:
        reply = server.predict("predict", "windows", [[255] * 4] * 4, **parameters)
        return [box["label"] for box in reply.json()["outputs"][0]["boxes"]]

    assert labels() == labels(min_score=0.5) == ["sky", "door"]
    assert labels(min_score=0.6) == labels(max_boxes=1) == ["sky"]
    refusal = server.predict("predict", "windows", [[255] * 4] * 4, min_score=2)
    assert refusal.status_code == 422
    assert "min_score" in refusal.json()["detail"]


@each_way
def test_a_mask_has_the_size_that_was_sent(server: Server, given: dict[str, Any]) -> None:
    answer = ask(server, "silhouette", "predict", given)
    mask = pixels_of(answer["mask"])
    assert mask.shape == LEFT_HALF.shape
    assert (mask == LEFT_HALF // 128).all()
    assert answer["labels"] == ["dark", "bright"]
    assert answer["share"] == {"dark": 0.5, "bright": 0.5}


@each_way
def test_an_anomaly_shows_where_it_is(server: Server, given: dict[str, Any]) -> None:
    answer = ask(server, "spots", "score", given)
    assert answer["anomalous"] is True
    heat = pixels_of(answer["map"])
    assert heat.shape == (4, 4), "as large as what the graph saw"
    assert (heat[:, 0] > heat[:, -1]).all()


@each_way
def test_a_picture_of_a_picture_has_no_seed(server: Server, given: dict[str, Any]) -> None:
    [image] = ask(server, "negative", "generate", given)["images"]
    assert set(image) == {"b64", "seed"}
    assert image["seed"] is None
    assert (pixels_of(image) == 255 - LEFT_HALF[..., None]).all()


def test_attributes_are_asked_for_by_their_names(server: Server) -> None:
    wish = {"ink": "red", "seed": 3}
    first, again = (
        ask(server, "inks", "generate", given)["images"][0]
        for given in ({"json": {"inputs": [wish]}}, {"json": {"parameters": wish}})
    )
    assert first == again
    assert (first["seed"], first["attributes"]["ink"]) == (3, "red")
    assert set(first["attributes"]) == {"ink", "tone"}
    refusal = server.predict("generate", "inks", {"ink": "green"})
    assert refusal.status_code == 422
    assert "'red' or 'blue'" in refusal.json()["detail"]


def test_an_action_is_the_likeliest_with_the_chances_of_all(server: Server) -> None:
    for row, action in (({"left": 0, "right": 2}, 2), ([2, 0], 1)):
        answer = ask(server, "pilot", "predict", {"json": {"inputs": [row]}})
        assert answer["action"] == action
        assert sorted(answer["probabilities"]) == pytest.approx([0.1192, 0.8808], abs=1e-4)
