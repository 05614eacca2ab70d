"""Section `model`: the network."""

from typing import Literal, Self

from pydantic import model_validator

from imagetrail.errors import nearest, quoted
from imagetrail.files.artifacts import TIMM
from imagetrail.params import signatures
from imagetrail.params.named import Named
from imagetrail.params.section import ImageSize, NonEmpty, sides

OF_ANY_NETWORK = ("weights", "input_size", "views")
"""Parameters that are not arguments of the network."""


class Model(Named):
    """The network and its arguments: a class of src/imagetrail/model/networks/, or a classifier of a library."""

    weights: NonEmpty | None
    """The weights that training starts from: torchvision's name (ResNet50_Weights.IMAGENET1K_V2), a repository of
    timm's hub (timm/convnext_tiny.fb_in22k), or a file in download.weights; null draws random weights."""
    input_size: ImageSize | None = None
    """What the network sees, in pixels: one number for a square, or [height, width]. Larger images are cropped to it,
    the centre unless train.augment crops elsewhere; smaller ones are enlarged to it on the device. Null takes images as
    they are, and for weights of timm the size that these were trained for."""

    views: Literal["mirror", "shifts"] | None = None
    """What answers are averaged over, in validation and wherever the model is used: mirror, the image and its mirror
    image, at twice the cost; shifts, the image and itself moved by a pixel each way, at five times. Null takes the
    image only."""

    @property
    def arguments(self) -> dict[str, object]:
        """Return the keyword arguments of the network: all that are not null, except those of any network."""
        return {key: value for key, value in super().arguments.items() if key not in OF_ANY_NETWORK}

    @property
    def seen_size(self) -> tuple[int, int] | None:
        """(height, width) of what the network sees, or None if it takes images as they are."""
        return None if self.input_size is None else sides(self.input_size)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name.startswith(TIMM):  # its tags are checked where timm is imported
            architecture = self.name.removeprefix(TIMM).partition(".")[0]
            if architecture not in (names := signatures.TIMM_MODELS.names()):
                raise ValueError(f"{quoted(self.name)} is not known to timm; {nearest(architecture, names)}")
        elif self.name not in (builders := signatures.CLASSIFIERS.names()):
            names = signatures.NETWORKS_HERE.names() | (builders if self.name.islower() else set())
            if self.name not in names:
                raise ValueError(f"{quoted(self.name)} is not known here; {nearest(self.name, names)}")
            return self._check(signatures.NETWORKS_HERE)
        if problems := signatures.NETWORKS_HERE.problems("Backbone", self.arguments):
            raise ValueError("\n".join(problem.replace("Backbone", self.name) for problem in problems))
        if self.arguments["freeze"] and self.weights is None:
            raise ValueError(
                "freeze = True keeps random weights for ever, since weights = null; give weights or unfreeze"
            )
        return self

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        kind, dot, _ = (self.weights or "").partition(".")
        if dot and kind.endswith("_Weights") and kind not in (names := signatures.WEIGHT_ENUMS.names()):
            raise ValueError(f"weights = {self.weights!r} is not known to torchvision; {nearest(kind, names)}")
        return self
