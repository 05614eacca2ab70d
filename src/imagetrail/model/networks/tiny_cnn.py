"""A network for a few thousand parameters: depthwise separable convolutions and a weighted pooling.

Depthwise separable convolutions (Howard et al., MobileNets, 2017) cost a ninth of plain ones. The mean over all
positions forgets where a stroke was; the pooling here learns one weight for each row and one for each column of a
channel, whose products weigh its positions: a global depthwise convolution (Chen et al., MobileFaceNets, 2018) of rank
one.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from imagetrail.errors import TrainingError
from imagetrail.model.networks.layers import Count, convolution


class TinyCNN(nn.Module):
    """A stem, separable convolutions with residuals, 2x2 max pooling before some, weighted pooling, linear."""

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        stem: Count,
        widths: list[Count],
        kernel_size: Count,
        pool_before: list[int],
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of an image.
            image_size: (height, width) in pixels; the network fits only this size.
            num_classes: number of logits.
            stem: channels of the first convolution, which is a plain one.
            widths: channels of each separable convolution; one that keeps the channels is residual.
            kernel_size: side of the depthwise kernels, odd.
            pool_before: the separable convolutions that 2x2 max pooling precedes, from 1.

        Raises:
            TrainingError: nothing is left of an image after the last pooling, or the kernel's side is even.
        """
        super().__init__()
        height, width = (side // 2 ** len(pool_before) for side in image_size)
        if min(height, width) < 1:
            raise TrainingError(
                f"preprocess.image_size = {min(image_size)} is too small for {len(pool_before)} poolings; "
                "shorten model.pool_before or use larger images."
            )
        if kernel_size % 2 == 0:
            raise TrainingError(f"model.kernel_size = {kernel_size} must be odd, so that an image keeps its size.")
        layers = convolution(in_channels, stem)
        for number, (inputs, outputs) in enumerate(pairwise([stem, *widths]), start=1):
            layers += [nn.MaxPool2d(2)] if number in pool_before else []
            layers.append(_Separable(inputs, outputs, kernel_size))
        self.blocks = nn.Sequential(*layers)
        self.rows = nn.Parameter(torch.full((widths[-1], height, 1), 1 / height))
        self.columns = nn.Parameter(torch.full((widths[-1], 1, width), 1 / width))
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:  # float32 [N,C,H,W] -> logits [N,K]
        """Return logits of normalised images."""
        features = (self.blocks(images) * (self.rows * self.columns)).sum(dim=(2, 3))  # [N,D]
        logits: Tensor = self.head(features)
        return logits


class _Separable(nn.Module):
    """A kernel for each channel, then a mixture of the channels."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.residual = inputs == outputs
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inputs, kernel_size, padding=kernel_size // 2, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, kernel_size=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:  # [N,I,H,W] -> [N,O,H,W]
        mixed: Tensor = self.layers(x)
        return torch.relu(x + mixed if self.residual else mixed)
