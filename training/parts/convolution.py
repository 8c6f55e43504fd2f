"""Layers of convolutions that several networks are made of."""

from torch import nn


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """3 × 3, normalised, cut at 0."""
    return nn.Sequential(*_layers(inputs, outputs, stride))


def pooled_convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """The same and half as large after it, layer by layer."""
    return [*_layers(inputs, outputs, 1), nn.MaxPool2d(2)]


def _layers(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
