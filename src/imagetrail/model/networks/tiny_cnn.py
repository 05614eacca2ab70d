"""A network for a few hundred or thousand parameters: depthwise separable convolutions and a weighted pooling.

Depthwise separable convolutions (Howard et al., MobileNets, 2017) cost a ninth of plain ones, and applying one again
(Jastrzebski et al., Residual Connections Encourage Iterative Inference, 2018) costs a shift per channel. The mean over
all positions forgets where a stroke was; the pooling here learns one weight for each row and one for each column of a
channel, whose products weigh its positions: a global depthwise convolution (Chen et al., MobileFaceNets, 2018) of rank
one.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from imagetrail.errors import TrainingError
from imagetrail.model.networks.layers import Count, ShiftNorm

SLOPE = 0.1
"""Of the rectifier below zero: so few channels cannot spare one that answers to nothing."""


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
        repeats: list[Count],
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
            repeats: how often each separable convolution is applied, with the same kernels and a normalisation for
                each time; more than once only where it keeps the channels.
            kernel_size: side of the depthwise kernels, odd.
            pool_before: the separable convolutions that 2x2 max pooling precedes, from 1.

        Raises:
            TrainingError: nothing is left of an image after the last pooling, the kernel's side is even, or `repeats`
                does not fit `widths`.
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
        if len(repeats) != len(widths):
            raise TrainingError(f"model.repeats = {repeats} must have a number for each of model.widths = {widths}.")
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, stem, kernel_size=3, padding=1, bias=False),
            ShiftNorm(stem),
            nn.LeakyReLU(SLOPE),
        ]
        for number, ((inputs, outputs), times) in enumerate(
            zip(pairwise([stem, *widths]), repeats, strict=True), start=1
        ):
            if times > 1 and inputs != outputs:
                raise TrainingError(
                    f"model.repeats = {repeats} applies convolution {number} of model.widths = {widths} {times} times, "
                    f"but it turns {inputs} channels into {outputs}; repeat only those that keep their channels."
                )
            layers += [nn.MaxPool2d(2)] if number in pool_before else []
            layers.append(_Separable(inputs, outputs, kernel_size, times))
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
    """A kernel for each channel, then a mixture of the channels, once or several times."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, times: int) -> None:
        super().__init__()
        self.residual = inputs == outputs
        self.mix = nn.Sequential(
            nn.Conv2d(inputs, inputs, kernel_size, padding=kernel_size // 2, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, kernel_size=1, bias=False),
        )
        self.norms = nn.ModuleList(ShiftNorm(outputs) for _ in range(times))

    def forward(self, x: Tensor) -> Tensor:  # [N,I,H,W] -> [N,O,H,W]
        for norm in self.norms:
            mixed = norm(self.mix(x))
            x = functional.leaky_relu(x + mixed if self.residual else mixed, SLOPE)
        return x
