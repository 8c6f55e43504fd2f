import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from training.data import efficientnet
from training.parts.efficientnet import (
    FEATURES,
    STAGES,
    EfficientNetLite0,
    pretrained,
    scaled,
)


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return pretrained(efficientnet.read())


def test_a_daisy_is_seen_as_one(network: EfficientNetLite0) -> None:
    flower = torch.tensor(np.array(load_sample_image("flower.jpg"))).permute(2, 0, 1)[None]
    flower = torch.nn.functional.interpolate(flower, (224, 224))
    with torch.no_grad():
        assert network.classify(scaled(flower)).argmax() == 985  # ImageNet's daisy


@pytest.mark.parametrize("size", [32, 64, 96])
def test_features_are_as_many_at_every_size(network: EfficientNetLite0, size: int) -> None:
    pixels = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = network(scaled(pixels.to(torch.uint8)))

    assert features.shape == (2, FEATURES)
    assert len(network.blocks) == sum(stage[0] for stage in STAGES)
    assert not torch.allclose(features[0], features[1], atol=1e-2)
