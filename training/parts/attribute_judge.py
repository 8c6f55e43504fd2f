"""Judging pictures made to order: what a classifier reads off them, and the Fréchet distance.

The classifier learned from real pictures only and nothing was trained against it. Knows no recipe
and no generator.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.attributed_pictures import Pictures
from training.parts.convolution import pooled_convolution

EMBEDDING = 64
LEARNING_RATE = 3e-3
BATCH_SIZE = 64
MIN_STEPS = 200


class AttributeJudge:
    """Reads every attribute of a picture. Learns at once."""

    def __init__(self, real: Pictures, counts: Sequence[int], epochs: int = 6) -> None:
        self.features = nn.Sequential(
            *pooled_convolution(3, 16),
            *pooled_convolution(16, 32),
            *pooled_convolution(32, 64),  # [N, 64, H/8, W/8]
            nn.AdaptiveAvgPool2d(5),
            nn.Flatten(),
            nn.Linear(25 * 64, EMBEDDING),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Linear(EMBEDDING, count) for count in counts)
        with torch.enable_grad():
            self._learn(real, epochs)
        self.features.eval().requires_grad_(False)
        self.heads.requires_grad_(False)

    def _learn(self, real: Pictures, epochs: int) -> None:
        parameters = [*self.features.parameters(), *self.heads.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
        steps = max(1, len(real) // BATCH_SIZE)
        epochs = max(epochs, -(-MIN_STEPS // steps))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=epochs * steps
        )
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(real)), BATCH_SIZE)[:steps]:
                seen = self.features(real.images[rows].float() / 255)
                loss = read_error([head(seen) for head in self.heads], real.places[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()

    def embed(self, images: Tensor) -> Tensor:
        """uint8 ``[N, 3, H, W]`` → float ``[N, 64]``"""
        parts = torch.split(images, 250)
        return torch.cat([self.features(part.float() / 255) for part in parts])

    def right(self, pictures: Pictures) -> Tensor:
        """Which attributes are read as they should be: bool ``[N, A]``."""
        seen = self.embed(pictures.images)
        read = torch.stack([head(seen).argmax(1) for head in self.heads], 1)
        return read == pictures.places

    def score(self, made: Pictures, real: Pictures) -> dict[str, float]:
        """How good ``made`` pictures are beside ``real`` ones that nobody learned from."""
        right = self.right(made)
        return {
            "frechet_distance": frechet_distance(self.embed(made.images), self.embed(real.images)),
            "attribute_accuracy": float(right.double().mean()),
            "lowest_attribute_accuracy": float(right.double().mean(0).min()),
            "all_attributes_accuracy": float(right.all(1).double().mean()),
        }


def read_error(read: Sequence[Tensor], places: Tensor) -> Tensor:
    """Mean cross-entropy of what is read, one ``[B, values]`` for each column of ``[B, A]``."""
    losses = [F.cross_entropy(scores, places[:, at]) for at, scores in enumerate(read)]
    return torch.stack(losses).mean()


def frechet_distance(some: Tensor, others: Tensor) -> float:
    """Between normal distributions with the mean and covariance of ``[N, D]`` and of ``[M, D]``:
    Heusel et al. 2017 (arXiv 1706.08500). 0 for equal ones.
    """
    (mean, covariance), (mean_2, covariance_2) = (
        (vectors.double().mean(0), torch.cov(vectors.double().T)) for vectors in (some, others)
    )
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # The trace of the root of a product is the same for this product, which is symmetric.
    shared = torch.linalg.eigvalsh(root @ covariance_2 @ root).clamp_min(0).sqrt().sum()
    apart = (mean - mean_2).square().sum()
    return float(apart + covariance.trace() + covariance_2.trace() - 2 * shared)
