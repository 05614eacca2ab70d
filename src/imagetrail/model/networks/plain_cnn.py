"""The textbook network: convolutions and pooling in a row, then fully connected layers (LeCun et al., 1998)."""

from itertools import pairwise

from torch import nn

from imagetrail.errors import TrainingError
from imagetrail.model.networks.layers import Count, DropoutRate, dense


class PlainCNN(nn.Sequential):
    """3x3 convolution, optional batch normalisation, 2x2 max pooling after some, ReLU; then a perceptron.

    ReLU after pooling gives the values and gradients of the usual order on a quarter of the pixels.

    Takes normalised images, float32 [N,C,H,W]; returns logits, float32 [N,K].
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        widths: list[Count],
        padding: int,
        pool_after: list[int],
        batch_norm: bool,
        hidden: list[Count],
        dropout: DropoutRate,
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of an image.
            image_size: (height, width) in pixels; the network fits only this size.
            num_classes: number of logits.
            widths: channels of each convolution.
            padding: zeros around the image before each convolution; 1 keeps its size.
            pool_after: the convolutions that 2x2 max pooling follows, from 1.
            batch_norm: whether batch normalisation follows each convolution.
            hidden: units of each fully connected layer before the last.
            dropout: share of the units before each fully connected layer that is zeroed in training, in [0, 1).

        Raises:
            TrainingError: nothing is left of an image after the last pooling.
        """
        layers: list[nn.Module] = []
        height, width = image_size
        for number, (inputs, outputs) in enumerate(pairwise([in_channels, *widths]), start=1):
            layers.append(nn.Conv2d(inputs, outputs, kernel_size=3, padding=padding, bias=not batch_norm))
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            height, width = (side + 2 * padding - 2 for side in (height, width))
            if number in pool_after:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            layers.append(nn.ReLU())
        if min(height, width) < 1:
            raise TrainingError(
                f"preprocess.image_size = {min(image_size)} is too small for model.widths = {widths} with pooling "
                f"after {pool_after}: nothing is left of an image; use larger images or fewer layers."
            )
        features = [widths[-1] * height * width, *hidden]
        super().__init__(*layers, nn.Flatten(), nn.Dropout(dropout), *dense(features, dropout, num_classes))
