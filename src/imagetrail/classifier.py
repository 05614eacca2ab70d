"""A network together with all it needs to answer for an image: normalisation, class names, image size; saved as files.

models/model.safetensors holds the weights, models/model.json the rest.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from imagetrail import artifacts
from imagetrail.arrays import Subset
from imagetrail.errors import ArtifactError
from imagetrail.models import MODELS

WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, for pixels scaled to [0, 1]."""

    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class Card:
    """models/model.json: what the weights belong to."""

    name: str
    """A class of imagetrail.models."""
    arguments: dict[str, object]
    classes: list[str]
    channels: int
    image_size: list[int]
    """[height, width] in pixels."""
    normalisation: Normalisation
    parameters: int
    """Trainable ones."""
    sha256: str
    """Of model.safetensors."""


class Classifier(nn.Module):
    """uint8 pixels in, logits out; normalisation happens inside, on the device."""

    mean: Tensor
    std: Tensor

    def __init__(self, card: Card) -> None:
        """Build with random weights, drawn from torch's current random state.

        Raises:
            TrainingError: the network cannot be built for this image size.
        """
        super().__init__()
        height, width = card.image_size
        self.network = MODELS[card.name](card.channels, (height, width), len(card.classes), **card.arguments)
        shape = (1, card.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(card.normalisation.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(card.normalisation.std).reshape(shape), persistent=False)
        self.card = replace(card, parameters=sum(p.numel() for p in self.parameters() if p.requires_grad))

    def forward(self, pixels: Tensor) -> Tensor:  # uint8 [N,C,H,W] -> float32 [N,K]
        """Logits of raw pixels."""
        logits: Tensor = self.network((pixels.float() / 255 - self.mean) / self.std)
        return logits


class Probabilities(nn.Module):
    """A classifier that answers with probabilities; the form in which a model leaves the project."""

    def __init__(self, classifier: Classifier) -> None:
        """Wrap a classifier, whose weights are shared."""
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:  # uint8 [N,C,H,W] -> float32 [N,K], rows sum to 1
        """Probabilities of raw pixels."""
        probabilities: Tensor = self.classifier(pixels).float().softmax(dim=1)
        return probabilities


def channel_statistics(subset: Subset) -> Normalisation:
    """Mean and standard deviation of each channel over the subset's pixels, scaled to [0, 1].

    Sums are exact integers over chunks of rows, so that memory does not grow and the order does not matter. A channel
    without variation gets a standard deviation of 1.
    """
    channels = subset.dataset.channels
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(subset), 1024):
        pixels: npt.NDArray[np.uint8] = subset.images[subset.rows[start : start + 1024]]
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    std = np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0))
    return Normalisation(mean.tolist(), [float(s) if s > 0 else 1.0 for s in std])


def new_card(name: str, arguments: Mapping[str, object], train: Subset) -> Card:
    """The card of a classifier that is to be trained on `train`; statistics come from its rows alone."""
    return Card(
        name=name,
        arguments=dict(arguments),
        classes=train.dataset.classes,
        channels=train.dataset.channels,
        image_size=list(train.dataset.image_size),
        normalisation=channel_statistics(train),
        parameters=0,
        sha256="",
    )


def save(classifier: Classifier, folder: Path) -> None:
    """Write the two files into `folder`, which replaces an earlier one as a whole."""
    with artifacts.writing_folder(folder) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in classifier.state_dict().items()}, temporary / WEIGHTS)
        (temporary / WEIGHTS).chmod(0o644)
        classifier.card = replace(classifier.card, sha256=artifacts.file_sha256(temporary / WEIGHTS))
        artifacts.write_json(temporary / CARD, asdict(classifier.card))


def load(folder: Path) -> Classifier:
    """Read a classifier for evaluation, on the CPU.

    Raises:
        ArtifactError: a file is missing, or the weights are not those that the card was written for.
    """
    card = read_card(folder)
    with artifacts.reading(folder / WEIGHTS, "train") as path:
        found = artifacts.file_sha256(path)
    if found != card.sha256:
        raise ArtifactError(
            f"{path} has sha256 {found[:12]}… and {CARD} says {card.sha256[:12]}…; restore both with `dvc checkout`."
        )
    with torch.random.fork_rng(devices=[]):  # random weights are drawn and overwritten
        classifier = Classifier(card)
    classifier.load_state_dict(load_file(path))
    return classifier.eval()


def read_card(folder: Path) -> Card:
    """Read model.json."""
    with artifacts.reading(folder / CARD, "train") as path:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Card(**values | {"normalisation": Normalisation(**values["normalisation"])})
