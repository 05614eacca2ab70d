"""Any classifier of torchvision by its own name, with a new head, its backbone frozen or not."""

from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from imagetrail.errors import TrainingError
from imagetrail.model.networks.layers import Count

WITHOUT_AUXILIARY_HEADS = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}
"""Two networks that return three heads in training, and whose weights expect their original input."""


class Backbone(nn.Module):
    """A torchvision network up to its last layer, which computes features, and a new linear layer on them."""

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        *,
        architecture: str,
        freeze: bool,
        input_size: Count | None = None,
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of an image; must be 3, as torchvision's networks have it.
            image_size: (height, width) in pixels.
            num_classes: number of logits.
            architecture: torchvision's name, such as `resnet50`.
            freeze: whether only the new layer learns; the backbone then stays in evaluation mode.
            input_size: side of the square that images are resized to on the device before the first layer (bilinear,
                antialiased); None takes them as they are.

        Raises:
            TrainingError: the images have one channel.
        """
        super().__init__()
        if in_channels != 3:
            raise TrainingError(
                f"{architecture} takes three channels and preprocess.channels = {in_channels}; set it to 3, which "
                "turns grey images into RGB with three equal channels."
            )
        self.backbone = models.get_model(  # type: ignore[attr-defined]
            architecture, weights=None, **WITHOUT_AUXILIARY_HEADS.get(architecture, {})
        )
        self.replaced, last = _last_layer(self.backbone)
        if isinstance(last, nn.Linear):
            self.backbone.set_submodule(self.replaced, nn.Identity())
            width = last.in_features
        else:  # SqueezeNet ends in a convolution and pooling
            self.replaced, width = "classifier", last.in_channels
            self.backbone.classifier = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, num_classes)
        self.input_size = image_size if input_size is None else (input_size, input_size)
        self.frozen = freeze
        self.backbone.requires_grad_(not freeze)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; a frozen backbone keeps the statistics of its batch normalisation."""
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def features(self, images: Tensor) -> Tensor:  # float32 [N,3,H,W] -> float32 [N,D]
        """Return the features of normalised images, which the head gets."""
        if images.shape[2:] != self.input_size:
            images = functional.interpolate(images, self.input_size, mode="bilinear", antialias=True)
        features: Tensor = self.backbone(images)
        return features

    def forward(self, images: Tensor) -> Tensor:  # float32 [N,3,H,W] -> logits [N,K]
        """Return logits of normalised images."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and module of the layer that computes the classes."""
    name, layer = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    return name, layer


def expected_normalisation(architecture: str) -> tuple[list[float], list[float]]:
    """Return the (mean, std) of each channel, for pixels in [0, 1], that torchvision's weights expect."""
    transforms = models.get_model_weights(architecture).DEFAULT.transforms()  # type: ignore[attr-defined]
    return list(transforms.mean), list(transforms.std)
