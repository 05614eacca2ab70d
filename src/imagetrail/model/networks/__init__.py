"""The networks: one file each, one row each in the table below; and the classifiers of torchvision and timm.

A network takes normalised images, float32 [N,C,H,W], and returns logits, float32 [N,K]. Its constructor takes
`in_channels`, `image_size` and `num_classes`, which the data set decides, and then keyword arguments of its own without
defaults, which params.yaml gives. A new network is a file here and a row below.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from imagetrail.errors import TrainingError
from imagetrail.model.networks.mlp import MLP
from imagetrail.model.networks.plain_cnn import PlainCNN
from imagetrail.model.networks.residual_cnn import ResidualCNN
from imagetrail.model.networks.small_cnn import SmallCNN
from imagetrail.model.networks.tiny_cnn import TinyCNN
from imagetrail.model.networks.whitened_cnn import WhitenedCNN

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "MLP": MLP,
    "PlainCNN": PlainCNN,
    "ResidualCNN": ResidualCNN,
    "SmallCNN": SmallCNN,
    "TinyCNN": TinyCNN,
    "WhitenedCNN": WhitenedCNN,
}


@runtime_checkable
class Prepared(Protocol):
    """A network that makes a layer from train images before it is trained."""

    def prepare(self, batches: Iterable[Tensor]) -> None:
        """Set the layer from normalised images, float32 [N,C,H,W] each."""


def build(
    name: str, in_channels: int, image_size: tuple[int, int], num_classes: int, arguments: Mapping[str, object]
) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: a row of NETWORKS, or a classifier of torchvision, such as `resnet50`, or of timm: `timm/convnext_tiny`.
        in_channels: channels of an image.
        image_size: (height, width) in pixels.
        num_classes: number of logits.
        arguments: the network's own.

    Raises:
        TrainingError: the network cannot be built from these arguments, or for these images.
    """
    try:
        if name in NETWORKS:
            return NETWORKS[name](in_channels, image_size, num_classes, **arguments)
        from imagetrail.model.networks.backbone import Backbone

        return Backbone(in_channels, image_size, num_classes, architecture=name, **arguments)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"model.name = {name!r} was refused by torch with these arguments: {reason}") from None
