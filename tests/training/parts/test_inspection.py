"""The odd place in a picture: Gaussians, pooling and what is served."""

import numpy as np
import pytest
import torch
from torch import nn

from training.parts.inspection import REGIONS, Autoencoder, Gaussians, Inspector, pooled


def maps(rows: int, seed: int) -> torch.Tensor:
    """``[N, 3, 6, 6]``, two channels of which follow each other."""
    drawn = torch.randn(rows, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    drawn[:, 1] = drawn[:, 0] + 0.1 * drawn[:, 1]
    return drawn


def test_distances_are_those_of_mahalanobis_with_a_shrunken_covariance() -> None:
    normal, unseen = maps(50, 0), maps(4, 1)
    got = Gaussians(normal)(unseen).numpy()
    place = normal[:, :, 2, 5].double().numpy()
    covariance = np.cov(place.T, bias=True)
    covariance = 0.9 * covariance + 0.1 * np.eye(3) * np.diag(covariance).mean()
    apart = unseen[:, :, 2, 5].double().numpy() - place.mean(0)
    expected = np.einsum("bd,de,be->b", apart, np.linalg.inv(covariance), apart) / 3
    np.testing.assert_allclose(got[:, 2 * 6 + 5], expected, rtol=1e-3)


def test_the_score_is_the_mean_of_the_strangest_tenth() -> None:
    places = torch.arange(40.0).flip(0)[None]
    assert pooled(places).tolist() == [(39 + 38 + 37 + 36) / 4]


def test_a_spot_is_found_in_its_region_and_on_the_map() -> None:
    inspector = Inspector(nn.Identity(), nn.Identity(), Gaussians(maps(50, 0)))
    inspector.calibrate(maps(50, 0), maps(50, 1), 0.05)
    image = maps(1, 2)
    image[0, 1, 5, 0] += 9
    score, contributions, heat = inspector(image)
    assert REGIONS[int(contributions.argmax())] == "bottom left"
    torch.testing.assert_close(contributions.sum(1), score)
    assert heat.shape == (1, 1, 6, 6)
    assert divmod(int(heat.argmax()), 6) == (5, 0)
    assert float(score) > inspector.threshold


def test_so_many_unseen_pictures_raise_an_alarm_as_were_allowed() -> None:
    inspector = Inspector(nn.Identity(), nn.Identity(), Gaussians(maps(50, 0)))
    inspector.calibrate(maps(50, 0), maps(200, 1), 0.05)
    scores = pooled(inspector.distances(maps(200, 1)))
    assert float((scores > inspector.threshold).float().mean()) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("side", [4, 6, 9, 12])
def test_an_autoencoder_gives_back_maps_of_any_side(side: int) -> None:
    normal = torch.randn(8, 5, side, side, generator=torch.Generator().manual_seed(0))
    assert Autoencoder(normal, hidden=6, latent=2)(normal).shape == normal.shape
