"""What an explanation says matters is what the answers of real models hang on."""

from statistics import mean
from typing import Any

import numpy as np
import pytest

from model_store.spec import Array
from tests.service.server import Server
from training.data import digits

pytestmark = pytest.mark.slow

SHOWN = 40
COVERED = 6
"""Cells of a digit, of 49."""
REVIEWS = (
    "A warm, funny, generous film with a wonderful cast.",
    "It is dull, badly acted and far too long.",
    "The best and most moving picture of the year, and also the most beautiful.",
    "A tired, predictable mess without a single good joke.",
)


def ask(server: Server, ref: str, verb: str, item: object, **parameters: object) -> dict[str, Any]:
    body = {"inputs": [item], "parameters": parameters}
    response = server.client.post(f"/v1/models/{ref}/{verb}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["outputs"][0]
    return found


def chance(server: Server, ref: str, item: object, label: str, labels: int) -> float:
    answer = ask(server, ref, "predict", item, top_k=labels)
    return float(next(one["score"] for one in answer["top"] if one["label"] == label))


def covered(pixels: Array, boxes: list[list[float]]) -> list[list[int]]:
    picture = pixels.copy()
    for left, top, right, bottom in boxes:
        picture[int(top) : int(bottom), int(left) : int(right)] = round(pixels.mean())
    rows: list[list[int]] = picture.tolist()
    return rows


def test_a_digit_is_lost_with_the_cells_that_speak_for_it(starter: Server) -> None:
    """Beside it: as many cells that are not empty, drawn at random."""
    rng = np.random.default_rng(0)
    lost: dict[str, list[float]] = {"named": [], "random": []}
    for image in digits.load(None, seed=0).test.images[:SHOWN, 0].numpy():
        found = ask(starter, "cnn_digits", "explain", image.tolist(), rows=300)
        parts = sorted(found["contributions"], key=lambda part: -part["contribution"])
        inked = [
            part["box"] for part in parts
            if image[int(part["box"][1]) : int(part["box"][3]),
                     int(part["box"][0]) : int(part["box"][2])].any()
        ]  # fmt: skip
        chosen = {
            "named": [part["box"] for part in parts[:COVERED]],
            "random": [inked[k] for k in rng.choice(len(inked), COVERED, replace=False)],
        }
        for name, boxes in chosen.items():
            left = chance(starter, "cnn_digits", covered(image, boxes), found["target"], 10)
            lost[name].append(found["value"] - left)
    named, drawn = mean(lost["named"]), mean(lost["random"])
    print(f"\nprobability lost with {COVERED} of 49 cells: named {named:.2f}, random {drawn:.2f}")  # noqa: T201 - the README's figure
    assert named > 1.5 * drawn


def test_a_review_is_lost_with_the_words_that_speak_for_it(starter: Server) -> None:
    lost: dict[str, list[float]] = {"most": [], "least": []}
    for review in REVIEWS:
        found = ask(starter, "transformer_sentiment", "explain", review, rows=1024)
        parts = sorted(found["contributions"], key=lambda part: -part["contribution"])
        for name, some in (("most", parts[:2]), ("least", parts[-2:])):
            words = review
            for part in sorted(some, key=lambda part: -part["start"]):
                words = words[: part["start"]] + words[part["end"] :]
            left = chance(starter, "transformer_sentiment", words, found["target"], 2)
            lost[name].append(found["value"] - left)
    assert mean(lost["most"]) > mean(lost["least"])
