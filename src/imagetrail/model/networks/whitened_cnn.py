"""A plain convolutional network that learns small colour photographs in few epochs.

The layout is that of airbench (Jordan, 94 % on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024): a first layer that
whitens 2x2 patches and does not learn; convolutions that start as identities; batch normalisation without scales, whose
shifts learn 64 times as fast as the weights; GELU; a global maximum; a head whose logits start small.
"""

from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from imagetrail.errors import TrainingError
from imagetrail.model.networks.layers import Count, ShiftNorm

PATCH = 2
"""Side of the patches."""
LEAST_VARIANCE = 5e-4
"""Added to the variances of the patches' components before they are divided by, so that noise is not amplified."""
SHIFT_SCALE = 8.0
"""What the stored shifts are multiplied by: a step of gradient descent moves the shift by its square."""
LOGIT_SCALE = 1 / 9
MOMENTUM = 0.4
"""Share of the last batch in the running statistics of batch normalisation."""


class WhitenedCNN(nn.Module):
    """Whitening, groups of convolutions that halve the image first, global maximum, linear."""

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        widths: list[Count],
        convolutions: Literal[2, 3],
    ) -> None:
        """Build with random weights; `prepare` sets those of the first layer.

        Args:
            in_channels: channels of an image.
            image_size: (height, width) in pixels; each group halves it.
            num_classes: number of logits.
            widths: channels of each group.
            convolutions: of each group; of three, the last two are a residual block.

        Raises:
            TrainingError: the images vanish before the last group.
        """
        super().__init__()
        if min(image_size) <= 2 ** len(widths):
            raise TrainingError(
                f"preprocess.image_size = {min(image_size)} is too small for the {len(widths)} groups of model.widths; "
                f"use at least {2 ** len(widths) + 1}, or fewer groups."
            )
        components = in_channels * PATCH**2
        self.whitening = nn.Conv2d(in_channels, 2 * components, PATCH)
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]  # it has one
        channels = pairwise([2 * components, *widths])
        self.groups = nn.Sequential(*(_Group(i, o, convolutions) for i, o in channels))
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    @torch.no_grad()
    def prepare(self, batches: Iterable[Tensor]) -> None:
        """Set the first layer to the patches' whitened principal components and their opposites.

        Args:
            batches: normalised images, float32 [N,C,H,W] each.
        """
        components = self.whitening.in_channels * PATCH**2
        moments = torch.zeros(components, components, dtype=torch.float64)  # on the CPU: the same on every device
        count = 0
        for images in batches:
            patches = functional.unfold(images.cpu(), PATCH).transpose(0, 1).flatten(1).double()  # [C*4,patches]
            moments += patches @ patches.T
            count += patches.shape[1]
        variances, vectors = torch.linalg.eigh(moments / count)  # [C*4], [C*4,C*4]
        signs = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()  # which LAPACK leaves open
        filters = (vectors * signs / (variances + LEAST_VARIANCE).sqrt()).T.reshape(
            -1, *self.whitening.weight.shape[1:]
        )
        self.whitening.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Tensor) -> Tensor:  # float32 [N,C,H,W] -> logits [N,K]
        """Return logits of normalised images."""
        features = self.groups(functional.gelu(self.whitening(images))).amax(dim=(2, 3))  # [N,D]
        logits: Tensor = self.head(features)
        return logits * LOGIT_SCALE


class _Group(nn.Module):
    """A convolution and 2x2 max pooling, then more convolutions; each normalised."""

    def __init__(self, inputs: int, outputs: int, convolutions: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_convolution(inputs, outputs), nn.MaxPool2d(2), _normalisation(outputs), nn.GELU())
        more = [[_convolution(outputs, outputs), _normalisation(outputs), nn.GELU()] for _ in range(convolutions - 1)]
        self.rest = nn.Sequential(*chain.from_iterable(more))
        self.rest.pop(-1)  # the last GELU comes after the sum
        self.residual = convolutions == 3

    def forward(self, x: Tensor) -> Tensor:  # [N,I,H,W] -> [N,O,H/2,W/2]
        halved = self.first(x)
        changed: Tensor = self.rest(halved)
        return functional.gelu(halved + changed if self.residual else changed)


def _normalisation(channels: int) -> ShiftNorm:
    return ShiftNorm(channels, momentum=MOMENTUM, shift_scale=SHIFT_SCALE)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution of which as many outputs as possible start as copies of the inputs."""
    layer = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[:inputs].detach())
    return layer
