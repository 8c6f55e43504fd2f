"""Masks: the score is counted by hand, what is ignored counts nowhere."""

import numpy as np
import torch

from training.data.scenes import IGNORED
from training.parts import unet


def test_overlap_is_what_both_have_of_what_either_has() -> None:
    truth = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 255]]], dtype=torch.uint8)
    found = torch.tensor([[[0, 1, 1, 1], [0, 0, 0, 2]]], dtype=torch.uint8)
    each = unet.overlaps(truth, found, 3)
    np.testing.assert_allclose(each, [3 / 5, 2 / 4, np.nan])


def test_ignored_pixels_change_no_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8)
    masks = torch.randint(3, (2, 8, 8), dtype=torch.uint8)
    masks[:, 6:] = IGNORED
    other = logits.clone()
    other[:, :, 6:] = 50
    balance = unet.weights(masks, 3)
    torch.testing.assert_close(unet.loss(logits, masks, balance), unet.loss(other, masks, balance))


def test_a_right_and_sure_answer_costs_next_to_nothing() -> None:
    masks = torch.randint(3, (2, 8, 8), dtype=torch.uint8)
    sure = 20 * torch.nn.functional.one_hot(masks.long(), 3).permute(0, 3, 1, 2).float()
    assert unet.loss(sure, masks, unet.weights(masks, 3)) < 1e-3


def test_rare_classes_weigh_more_and_the_average_pixel_one() -> None:
    masks = torch.zeros(1, 10, 10, dtype=torch.uint8)
    masks[0, 0] = 1
    weights = unet.weights(masks, 2)
    torch.testing.assert_close(weights[1] / weights[0], torch.tensor(3.0))
    torch.testing.assert_close(weights[masks.long()].mean(), torch.tensor(1.0))
