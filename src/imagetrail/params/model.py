"""Section `model`: the network."""

from typing import Self

from pydantic import model_validator

from imagetrail.errors import nearest, quoted
from imagetrail.params import signatures
from imagetrail.params.named import Named
from imagetrail.params.section import NonEmpty


class Model(Named):
    """The network and its arguments: a class of src/imagetrail/model/networks/, or a classifier of torchvision."""

    weights: NonEmpty | None
    """The weights that training starts from: torchvision's name (ResNet50_Weights.IMAGENET1K_V2), or a file in
    download.weights; null draws random weights."""

    @property
    def arguments(self) -> dict[str, object]:
        """Return the keyword arguments of the network: all that are not null, except the weights."""
        return {key: value for key, value in super().arguments.items() if key != "weights"}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in (builders := signatures.CLASSIFIERS.names()):
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
