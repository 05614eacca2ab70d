"""The networks: one file each, one row each in the table below.

A network takes normalised images, float32 [N,C,H,W], and gives logits, float32 [N,K]. Its constructor takes
`in_channels`, `image_size` and `num_classes`, which the data set decides, and then keyword arguments of its own without
defaults, which params.yaml gives.
"""

from collections.abc import Callable, Mapping

from torch import nn

from imagetrail.models.small_cnn import SmallCNN

MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "SmallCNN": SmallCNN,
}
