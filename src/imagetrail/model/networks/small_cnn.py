"""The default network: a few convolution blocks, then the mean over all positions."""

from itertools import pairwise

from torch import Tensor, nn

from imagetrail.errors import TrainingError
from imagetrail.model.networks.layers import Count, DropoutRate, convolution


class SmallCNN(nn.Module):
    """Blocks of 3x3 convolution, batch normalisation, ReLU; 2x2 max pooling between blocks; global mean; linear.

    The global mean (Lin et al., Network in Network, 2014) makes one network fit any image size; its gradient is
    deterministic on CUDA, which that of AdaptiveAvgPool2d is not.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        widths: list[Count],
        dropout: DropoutRate,
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of an image.
            image_size: (height, width) in pixels.
            num_classes: number of logits.
            widths: channels of each block, at least one.
            dropout: share of the pooled features that is zeroed in training, in [0, 1).

        Raises:
            TrainingError: the images vanish before the last block.
        """
        super().__init__()
        smallest = 2 ** (len(widths) - 1)
        if not widths or min(widths) < 1:
            raise TrainingError(f"model.widths = {widths!r} must list at least one positive number of channels.")
        if min(image_size) < smallest:
            raise TrainingError(
                f"preprocess.image_size = {min(image_size)} is too small for the {len(widths)} blocks of model.widths; "
                f"use at least {smallest}, or fewer blocks."
            )
        channels = [in_channels, *widths]
        self.blocks = nn.Sequential(*(_block(i, o, pool=k > 0) for k, (i, o) in enumerate(pairwise(channels))))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:  # float32 [N,C,H,W] -> logits [N,K]
        """Return logits of normalised images."""
        features = self.blocks(images).mean(dim=(2, 3))  # [N,D]
        logits: Tensor = self.head(self.dropout(features))
        return logits


def _block(in_channels: int, out_channels: int, *, pool: bool) -> nn.Sequential:
    layers = convolution(in_channels, out_channels)
    return nn.Sequential(nn.MaxPool2d(2), *layers) if pool else nn.Sequential(*layers)
