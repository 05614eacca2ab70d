"""Any classifier of torchvision or timm by its own name, with a new head, its backbone frozen or not."""

from torch import Tensor, nn

from imagetrail.errors import TrainingError
from imagetrail.files import artifacts
from imagetrail.model.networks import timm_models

WITHOUT_AUXILIARY_HEADS = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}
"""Two networks that return three heads in training, and whose weights expect their original input."""


class Backbone(nn.Module):
    """A network up to its last layer, which computes features, and a new linear layer on them."""

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        architecture: str,
        freeze: bool,
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of an image; must be 3, as pretrained networks have it.
            image_size: (height, width) in pixels.
            num_classes: number of logits.
            architecture: torchvision's name, such as `resnet50`, or timm's, such as `timm/convnext_tiny.fb_in22k`.
            freeze: whether only the new layer learns; the backbone then stays in evaluation mode.

        Raises:
            TrainingError: the images have one channel, or timm does not have the network.
        """
        super().__init__()
        if in_channels != 3:
            raise TrainingError(
                f"{architecture} takes three channels and preprocess.channels = {in_channels}; set it to 3, which "
                "turns grey images into RGB with three equal channels."
            )
        if architecture.startswith(artifacts.TIMM):
            self.backbone, self.replaced, width = timm_models.build(architecture, image_size)
        else:
            self.backbone, self.replaced, width = _of_torchvision(architecture)
        self.head = nn.Linear(width, num_classes)
        self.frozen = freeze
        self.backbone.requires_grad_(not freeze)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; a frozen backbone keeps the statistics of its batch normalisation."""
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def features(self, images: Tensor) -> Tensor:  # float32 [N,3,H,W] -> float32 [N,D]
        """Return the features of normalised images, which the head gets."""
        features: Tensor = self.backbone(images)
        return features

    def forward(self, images: Tensor) -> Tensor:  # float32 [N,3,H,W] -> logits [N,K]
        """Return logits of normalised images."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _of_torchvision(architecture: str) -> tuple[nn.Module, tuple[str, ...], int]:
    """Return (network that returns features, names of the layers that are left out, number of features)."""
    from torchvision import models  # takes a second to import

    network = models.get_model(  # type: ignore[attr-defined]
        architecture, weights=None, **WITHOUT_AUXILIARY_HEADS.get(architecture, {})
    )
    name, last = _last_layer(network)
    if isinstance(last, nn.Linear):
        network.set_submodule(name, nn.Identity())
        return network, (name,), last.in_features
    network.classifier = nn.AdaptiveAvgPool2d(1)  # SqueezeNet ends in a convolution and pooling
    return network, ("classifier",), last.in_channels


def _last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and module of the layer that computes the classes."""
    name, layer = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    return name, layer


def expected_normalisation(architecture: str) -> tuple[list[float], list[float]]:
    """Return the (mean, std) of each channel, for pixels in [0, 1], that pretrained weights expect."""
    if architecture.startswith(artifacts.TIMM):
        return timm_models.normalisation(architecture)
    from torchvision import models

    transforms = models.get_model_weights(architecture).DEFAULT.transforms()  # type: ignore[attr-defined]
    return list(transforms.mean), list(transforms.std)


def expected_size(architecture: str) -> list[int] | None:
    """Return [height, width] in pixels that pretrained weights expect; None where torchvision's take any."""
    if architecture.startswith(artifacts.TIMM):
        return timm_models.size(architecture)
    return None
