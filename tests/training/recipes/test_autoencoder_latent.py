"""What is special to ``autoencoder_latent``; the contract of all recipes is tested elsewhere."""

from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed

from training.data.class_folders import Pictures
from training.recipes.autoencoder_latent import (
    NETWORK,
    Autoencoder,
    AutoencoderLatent,
    Decoder,
    Encoder,
    LatentConfig,
    probe,
)


def config() -> LatentConfig:
    return LatentConfig(epochs=1, learning_rate=2e-3, latent=3, width=4)


def test_place_is_drawn_while_learning_and_the_mean_when_asked() -> None:
    set_seed(0)
    network = Autoencoder(3, 4)
    images = torch.rand(5, 1, 28, 28)

    assert not torch.equal(network(images)[0], network(images)[0])
    network.eval()
    logits, mean, _ = network(images)
    assert torch.equal(logits, network.decoder(mean))
    pixels = (images * 255).round().to(torch.uint8)
    assert torch.allclose(Encoder(network)(pixels), mean, atol=0.01)


def test_noise_becomes_pixels_and_the_same_noise_the_same_ones() -> None:
    network = Autoencoder(3, 4).eval()
    noise = torch.randn(4, 3)

    pixels = Decoder(network)(noise)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (4, 1, 28, 28)
    assert torch.equal(pixels, Decoder(network)(noise))


def test_each_verb_has_a_graph_of_its_own(tmp_path: Path) -> None:
    recipe = AutoencoderLatent(config())
    recipe.load(None)
    package = recipe.package({NETWORK: recipe.build(0)[NETWORK].eval()}, tmp_path)

    assert {name: verb.graph for name, verb in package.verbs.items()} == {
        "embed": "encoder",
        "generate": "decoder",
    }


def test_closeness_to_the_noise_is_paid_for() -> None:
    images, network = torch.rand(8, 1, 28, 28), Autoencoder(3, 4).eval()
    costs = [
        AutoencoderLatent(config().model_copy(update={"beta": beta}))._loss(network, images)
        for beta in (0.0, 1.0, 2.0)
    ]

    assert costs[0] < costs[1] < costs[2]
    assert torch.allclose(costs[2] - costs[1], costs[1] - costs[0], atol=1e-5)


def test_probe_tells_clouds_apart_and_guesses_on_noise() -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 3, 300))
    pictures = Pictures(torch.zeros(300, 1, 1, 1, dtype=torch.uint8), labels)
    clouds = 5 * np.eye(3)[labels.numpy()] + rng.normal(size=(300, 3))

    assert probe(clouds, pictures, clouds, pictures) > 0.95
    assert probe(rng.normal(size=(300, 3)), pictures, clouds, pictures) < 0.6
