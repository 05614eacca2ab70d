"""Layers that several networks share."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

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


class ShiftNorm(nn.BatchNorm2d):
    """Batch normalisation with a learned shift and no scale."""

    scale: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, shift_scale: float = 1.0) -> None:
        """Start with shifts of 0.

        Args:
            channels: of its input, [N,C,H,W].
            momentum: share of the last batch in the running statistics, in (0, 1].
            shift_scale: what the stored shifts are multiplied by; a step of plain gradient descent moves the shift by
                its square.
        """
        super().__init__(channels, momentum=momentum, affine=False)
        self.shift_scale = shift_scale
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, [N,C,H,W], with each channel normalised and then shifted by `shift_scale` times `shift`."""
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.scale,
            self.shift_scale * self.shift,
            self.training,
            self.momentum,  # type: ignore[arg-type]  # the number given
            self.eps,
        )
