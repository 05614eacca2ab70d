"""A multilayer perceptron: every pixel is an input of its own."""

from torch import nn

from imagetrail.model.networks.layers import Count, DropoutRate, dense


class MLP(nn.Sequential):
    """Flatten, then linear layers with ReLU and dropout between them.

    Takes normalised images, float32 [N,C,H,W]; returns logits, float32 [N,K].
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        hidden: list[Count],
        dropout: DropoutRate,
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of an image.
            image_size: (height, width) in pixels; the network fits only this size.
            num_classes: number of logits.
            hidden: units of each hidden layer; none leaves a linear classifier.
            dropout: share of each hidden layer's units that is zeroed in training, in [0, 1).
        """
        height, width = image_size
        super().__init__(nn.Flatten(), *dense([in_channels * height * width, *hidden], dropout, num_classes))
