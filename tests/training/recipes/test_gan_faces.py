"""What is special to ``gan_faces``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import pytest
import torch

from tests.conftest import lacks
from training.parts import picture_vae
from training.parts.painter import HIDDEN, looks
from training.recipes.gan_faces import FacesConfig, GanFaces

pytestmark = pytest.mark.skipif(bool(lacks("gan_faces")), reason=lacks("gan_faces"))


@pytest.fixture(scope="module")
def recipe() -> GanFaces:
    config = FacesConfig(
        epochs=1, learning_rate=1e-3, faces=300, side=16, width=4, critic_width=4, batch_size=32
    )
    recipe = GanFaces(config)
    recipe.load(None)
    return recipe


def test_no_test_picture_is_learned_from(recipe: GanFaces) -> None:
    parts = (recipe.train, recipe.validation, recipe.test)
    seen = [{image.numpy().tobytes() for image in part.images} for part in parts]
    assert sum(map(len, parts)) == 300
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]


def test_the_same_noise_and_other_attributes_is_another_drawing(recipe: GanFaces) -> None:
    torch.manual_seed(0)
    generator = recipe.build(0)["generator"].eval()
    noise = torch.randn(1, recipe.config.noise_size)
    drawn = [generator(noise, torch.tensor([row])) for row in ([0, 0, 0, 0], [0, 0, 0, 1])]
    assert (drawn[0] - drawn[1]).abs().max() > 1e-3


def test_an_item_names_its_attributes_and_gets_them_back(recipe: GanFaces, tmp_path: Path) -> None:
    torch.manual_seed(0)
    package = recipe.package({"generator": recipe.build(0)["generator"].eval()}, tmp_path)
    verb = package.verbs["generate"]
    item = {"hair": "red", "eyewear": "glasses", "seed": 3, "n": 2}
    for_input, for_answer = verb.read_parameters({})
    encoded = verb.input.encoder(tmp_path)(item, for_input)
    with torch.no_grad():
        inputs = [torch.tensor(encoded.tensors[key]) for key in ("noise", "attributes")]
        pixels = package.graphs["model"].module(*inputs)
    answer = verb.answer.answer({"image": pixels.numpy()}, encoded.context, for_answer)
    assert [image["seed"] for image in answer["images"]] == [3, 4]
    for image in answer["images"]:
        assert image["attributes"]["hair"] == "red"
        assert image["attributes"]["eyewear"] == "glasses"
        assert set(image["attributes"]) == {"hair", "skin", "eyewear", "mouth"}


def test_the_rival_learns_to_rebuild(recipe: GanFaces) -> None:
    torch.manual_seed(0)
    painter = recipe.build(0)["generator"]
    reader = torch.nn.Sequential(
        looks(4, recipe.config.side), torch.nn.Linear(HIDDEN, 2 * recipe.config.noise_size)
    )
    batch = next(iter(recipe.batches(0, 0)))[:2]
    images = batch[0].float() / 255

    @torch.no_grad()
    def loss() -> float:
        return float(picture_vae._loss(painter, reader, images, batch[1]))

    before = loss()
    picture_vae.fit(painter, reader, [batch] * 60, 60)
    assert loss() < 0.8 * before
    assert not any(parameter.requires_grad for parameter in painter.parameters())
