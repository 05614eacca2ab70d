"""A small residual network, trained from scratch in minutes.

The layout is that of David Page's ResNet-9 (How to Train Your ResNet, 2018), which other widths and blocks scale from a
few thousand parameters to seven million.
"""

from itertools import pairwise

from torch import Tensor, nn

from imagetrail.errors import TrainingError
from imagetrail.model.networks.layers import Count, DropoutRate, convolution


class ResidualCNN(nn.Module):
    """A stem; stages of convolution, 2x2 max pooling and residual blocks; global maximum; linear."""

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        stem: Count,
        widths: list[Count],
        blocks: list[int],
        dropout: DropoutRate,
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of an image.
            image_size: (height, width) in pixels; each stage halves it.
            num_classes: number of logits.
            stem: channels of the first convolution, which works at full size.
            widths: channels of each stage.
            blocks: residual blocks of each stage, of two convolutions each; 0 leaves a stage plain.
            dropout: share of the pooled features that is zeroed in training, in [0, 1).

        Raises:
            TrainingError: the lists differ in length, or the images vanish before the last stage.
        """
        super().__init__()
        if len(blocks) != len(widths):
            raise TrainingError(f"model.blocks = {blocks} must have a number for each of model.widths = {widths}.")
        if min(image_size) < 2 ** len(widths):
            raise TrainingError(
                f"preprocess.image_size = {min(image_size)} is too small for the {len(widths)} stages of model.widths; "
                f"use at least {2 ** len(widths)}, or fewer stages."
            )
        stages = (
            nn.Sequential(*convolution(i, o, pooled=True), *(_Residual(o) for _ in range(count)))
            for (i, o), count in zip(pairwise([stem, *widths]), blocks, strict=True)
        )
        self.blocks = nn.Sequential(*convolution(in_channels, stem), *stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:  # float32 [N,C,H,W] -> logits [N,K]
        """Return logits of normalised images."""
        features = self.blocks(images).amax(dim=(2, 3))  # [N,D]
        logits: Tensor = self.head(self.dropout(features))
        return logits


class _Residual(nn.Module):
    """x + f(x), f being two convolutions (He et al., 2015)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*convolution(channels, channels), *convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:  # [N,C,H,W] -> [N,C,H,W]
        change: Tensor = self.layers(x)
        return x + change
