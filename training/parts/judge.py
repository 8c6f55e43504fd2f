"""Judging made pictures: a small classifier that learned from real ones only, and distances.

Knows no recipe and no generator.
"""

import math
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.class_folders import Pictures
from training.parts.convolution import pooled_convolution

EMBEDDING_SIZE = 64
LEARNING_RATE = 3e-3
BATCH_SIZE = 64
MIN_STEPS = 200  # few pictures are shown more often, or the judge would only guess


class Judge:
    """A classifier nobody trained against, so that nobody can have learned to please it."""

    def __init__(self, real: Pictures, epochs: int = 5) -> None:
        """Learns at once."""
        self.features = nn.Sequential(
            *pooled_convolution(real.images.shape[1], 16),
            *pooled_convolution(16, 32),
            *pooled_convolution(32, 64),  # [N, 64, H/8, W/8]
            nn.AdaptiveMaxPool2d(3),
            nn.Flatten(),
            nn.Linear(9 * 64, EMBEDDING_SIZE),
            nn.ReLU(),
        )
        self.head = nn.Linear(EMBEDDING_SIZE, int(real.labels.max()) + 1)
        with torch.enable_grad():
            self._learn(real, epochs)
        self.features.eval().requires_grad_(False)
        self.head.requires_grad_(False)

    def _learn(self, real: Pictures, epochs: int) -> None:
        parameters = [*self.features.parameters(), *self.head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
        steps = max(1, len(real) // BATCH_SIZE)
        epochs = max(epochs, math.ceil(MIN_STEPS / steps))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=epochs * steps
        )
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(real)), BATCH_SIZE)[:steps]:
                scores = self.head(self.features(real.images[rows].float() / 255))
                optimizer.zero_grad()
                torch.autograd.backward(F.cross_entropy(scores, real.labels[rows]))
                optimizer.step()
                schedule.step()

    def embed(self, images: Tensor) -> Tensor:
        """uint8 ``[N, C, H, W]`` → float ``[N, 64]``: what the judge looks at."""
        parts = torch.split(images, 500)
        return torch.cat([self.features(part.float() / 255) for part in parts])

    def accuracy(self, pictures: Pictures) -> float:
        """How often it reads what the label says."""
        guess = self.head(self.embed(pictures.images)).argmax(1)
        return float((guess == pictures.labels).double().mean())


def score(judge: Judge, made: Pictures, real: Pictures, known: Pictures) -> dict[str, float]:
    """How good ``made`` pictures are beside ``real`` ones that nobody learned from; ``known`` are
    those that the maker learned from. :func:`explain` says what the numbers mean.
    """
    energy, diversity, novelty = [], [], []
    for label in range(int(real.labels.max()) + 1):
        ours, theirs, learned = (p[p.labels == label].images for p in (made, real, known))
        energy.append(energy_distance(judge.embed(ours), judge.embed(theirs)))
        ours, theirs, learned = flat(ours), flat(theirs), flat(learned)
        diversity.append(mean_distance(ours) / mean_distance(theirs))
        novelty.append(nearest_distance(ours, learned) / nearest_distance(theirs, learned))
    return {
        "label_accuracy": judge.accuracy(made),
        "energy_distance": fmean(energy),
        "diversity": fmean(diversity),
        "lowest_diversity": min(diversity),
        "novelty": fmean(novelty),
    }


def explain() -> str:
    """For an evaluation's description."""
    return (
        "Label accuracy: how often they are read as the label asked for, by a classifier that saw"
        " only real pictures and had no part in the training. Energy distance: to the test"
        " pictures in what that classifier sees; 0 is one distribution, 1 worlds apart. Diversity:"
        " mean pixel distance within a label, real pictures having 1. Novelty: distance to the"
        " nearest training picture, real test pictures having 1 and copies 0."
    )


def gaussian_samples(known: Pictures, per_label: int) -> Pictures:
    """What a generator without a network does: for each label a normal distribution with the mean
    and covariance of its training images.
    """
    made = []
    for label in torch.unique(known.labels):
        vectors = flat(known.images[known.labels == label])  # [N, 784]
        centre = vectors.mean(0)
        # A random mix of the centred images has exactly their covariance.
        mix = torch.randn(per_label, len(vectors)) / (len(vectors) - 1) ** 0.5
        pixels = ((centre + mix @ (vectors - centre)).clamp(0, 1) * 255).round().to(torch.uint8)
        made.append(pixels.unflatten(1, known.images.shape[1:]))
    return Pictures(torch.cat(made), torch.unique(known.labels).repeat_interleave(per_label))


def flat(images: Tensor) -> Tensor:
    """uint8 ``[N, C, H, W]`` → floats ``[N, C·H·W]`` from 0 to 1."""
    return images.flatten(1).float() / 255


def distances(some: Tensor, others: Tensor) -> Tensor:
    """``[N, D]`` and ``[M, D]`` → ``[N, M]``; the quick way by products is not 0 for equal rows."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(some, others, compute_mode=exact)


def mean_distance(vectors: Tensor) -> float:
    """Between different rows of ``[N, D]``; 0 for a single one."""
    rows = len(vectors)
    return float(distances(vectors, vectors).sum()) / max(1, rows * (rows - 1))


def energy_distance(some: Tensor, others: Tensor) -> float:
    """How unlike two clouds of vectors ``[N, D]`` and ``[M, D]`` are, from 0 (one distribution,
    whatever its shape) to 1 (worlds apart): Székely and Rizzo 2013, as a share of the distance
    between the clouds. Estimated without bias, so it can be a little below 0.
    """
    between = float(distances(some, others).mean())
    within = (mean_distance(some) + mean_distance(others)) / 2
    return 1 - within / between if between else 0.0


def nearest_distance(vectors: Tensor, known: Tensor) -> float:
    """Mean distance of each of ``[N, D]`` to its nearest of ``[M, D]``."""
    return float(distances(vectors, known).min(1).values.mean())
