"""Layers that several networks share."""

from itertools import pairwise

from torch import nn

DropoutRate = float
"""In [0, 1)."""
Count = int
"""At least 1."""


def convolution(inputs: int, outputs: int, *, pooled: bool = False) -> list[nn.Module]:
    """Return a 3x3 convolution that keeps the image's size, batch normalisation, ReLU, and 2x2 max pooling if asked.

    Pooling comes before ReLU, which gives the values and gradients of the usual order on a quarter of the pixels.
    """
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        *([nn.MaxPool2d(2)] if pooled else []),
        nn.ReLU(),
    ]


def dense(widths: list[Count], dropout: DropoutRate, num_classes: int) -> list[nn.Module]:
    """Return linear layers from each width to the next, with ReLU and dropout between, and one more to the classes."""
    hidden = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout))]
    return [*hidden, nn.Linear(widths[-1], num_classes)]
