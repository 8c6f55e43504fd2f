"""Judging made pictures: a small classifier that learned from real ones only, and distances.

Knows no recipe and no generator. All pictures are uint8 ``[N, C, H, W]``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING_SIZE = 64
LEARNING_RATE = 3e-3
BATCH_SIZE = 64


class Judge:
    """A classifier nobody trained against, so that nobody can have learned to please it."""

    def __init__(self, images: Tensor, labels: Tensor, classes: int, epochs: int = 5) -> None:
        """Learns at once, from real ``images`` and their int64 ``[N]`` labels."""
        self.features = nn.Sequential(
            *_convolution(images.shape[1], 16),
            *_convolution(16, 32),
            *_convolution(32, 64),  # [N, 64, H/8, W/8]
            nn.AdaptiveMaxPool2d(3),
            nn.Flatten(),
            nn.Linear(9 * 64, EMBEDDING_SIZE),
            nn.ReLU(),
        )
        self.head = nn.Linear(EMBEDDING_SIZE, classes)
        with torch.enable_grad():
            self._learn(images, labels, epochs)
        self.features.eval().requires_grad_(False)
        self.head.requires_grad_(False)

    def _learn(self, images: Tensor, labels: Tensor, epochs: int) -> None:
        parameters = [*self.features.parameters(), *self.head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
        batches = max(1, len(images) // BATCH_SIZE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=epochs * batches
        )
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(BATCH_SIZE)[:batches]:
                scores = self.head(self.features(images[rows].float() / 255))
                optimizer.zero_grad()
                F.cross_entropy(scores, labels[rows]).backward()
                optimizer.step()
                schedule.step()

    def embed(self, images: Tensor) -> Tensor:
        """float ``[N, 64]``: what the judge looks at."""
        parts = [self.features(part.float() / 255) for part in images.split(500)]
        return torch.cat(parts)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """How often it reads what the label says."""
        guess = self.head(self.embed(images)).argmax(1)
        return float((guess == labels).float().mean())


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


def mean_distance(vectors: Tensor) -> float:
    """Between different rows of ``[N, D]``; 0 for a single one."""
    rows = len(vectors)
    return float(torch.cdist(vectors, vectors).sum()) / max(1, rows * (rows - 1))


def energy_distance(some: Tensor, others: Tensor) -> float:
    """How unlike two clouds of vectors ``[N, D]`` and ``[M, D]`` are: 0 where both come from one
    distribution, whatever its shape (Székely and Rizzo 2013). Estimated without bias, so it can
    be a little below 0.
    """
    between = float(torch.cdist(some, others).mean())
    return 2 * between - mean_distance(some) - mean_distance(others)


def nearest_distance(vectors: Tensor, known: Tensor) -> float:
    """Mean distance of each of ``[N, D]`` to its nearest of ``[M, D]``."""
    return float(torch.cdist(vectors, known).min(1).values.mean())
