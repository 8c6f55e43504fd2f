"""What is special to ``gan_style``; the contract of all recipes is tested elsewhere."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from model_store.answers.image import png
from tests.service.server import Server, serving
from training.errors import DataError
from training.recipes.gan_style import MAX_PIXELS, GanStyle, Served

if TYPE_CHECKING:
    from tests.conftest import Trained

SIZES = [(33, 20), (1, 1), (64, 64), (20, 33), (7, 90), (64, 64), (33, 20)]
"""Width and height."""
Pixels = npt.NDArray[np.uint8]


def quick(**settings: object) -> GanStyle:
    smoke = {**GanStyle.smoke, **settings}
    return GanStyle(GanStyle.profiles["quick"].model_copy(update=smoke))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def recipe() -> GanStyle:
    recipe = quick()
    recipe.load(None)
    return recipe


def pictures() -> list[Pixels]:
    """uint8 ``[3, H, W]`` of each size, no two alike."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (3, high, wide), dtype=np.uint8) for wide, high in SIZES]


def test_no_photograph_is_both_learned_from_and_tested_on(recipe: GanStyle) -> None:
    assert not set(recipe.known) & set(recipe.tested)
    assert len(recipe.known) >= 4
    assert len(recipe.tested) >= 2


def test_a_style_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    for style in ("cubism", str(tmp_path)):
        with pytest.raises(DataError, match=f"{style}: expected a picture"):
            quick(style=style).load(None)


def test_own_photographs_of_the_least_size_and_an_own_style(tmp_path: Path) -> None:
    for place, pixels in enumerate(pictures()[2:3] * 4):
        least = pixels[:, :32, :32] + place
        Image.fromarray(least.transpose(1, 2, 0)).save(tmp_path / f"{place}.png")
    recipe = quick(style=str(tmp_path / "0.png"))
    recipe.load(tmp_path)
    assert f"{tmp_path}: 4 pictures; the style: {tmp_path}/0.png" == recipe.data_source
    assert next(iter(recipe.batches(0, 0)))[0].shape == (2, 3, 32, 32)
    package = recipe.package({"stylist": recipe.build(0)["stylist"].eval()}, tmp_path)
    samples = package.graphs["model"].sample(3)
    assert samples["image"].shape[0] == 3, "pictures of the least side have room for a sample"


@pytest.fixture(scope="module")
def hub(trained: "Trained", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(trained.store, tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.mark.slow
def test_pictures_of_many_sizes_in_one_request_come_back_as_large_and_as_if_alone(
    trained: "Trained", hub: Server
) -> None:
    _, networks = trained.recipes["gan_style"]
    sent = pictures()
    reply = hub.predict("generate", "gan_style", *[{"b64": png(one)} for one in sent])
    assert reply.status_code == 200, reply.text
    for picture, output in zip(sent, reply.json()["outputs"], strict=True):
        [image] = output["images"]
        got = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["b64"]))))
        with torch.no_grad():
            expected = Served(networks["stylist"])(torch.from_numpy(picture)[None])[0]
        assert got.shape == (*picture.shape[1:], 3)
        apart = got.astype(int) - expected.numpy().transpose(1, 2, 0)
        assert np.abs(apart).max() <= 1


@pytest.mark.slow
def test_a_picture_may_be_the_raw_body_and_not_too_large(hub: Server) -> None:
    body = base64.b64decode(png(pictures()[0]))
    url, head = "/v1/models/gan_style/generate", {"Content-Type": "image/png"}
    assert hub.client.post(url, content=body, headers=head).status_code == 200
    large = base64.b64decode(png(np.zeros((1, 1, MAX_PIXELS + 1), np.uint8)))
    refusal = hub.client.post(url, content=large, headers=head)
    assert refusal.status_code == 413
    assert f"at most {MAX_PIXELS:,} pixels" in refusal.json()["detail"]
