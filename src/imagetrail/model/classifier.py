"""A network together with all it needs to classify an image: normalisation, class names, image size; saved as files.

models/model.safetensors holds the weights, models/model.json the rest.
"""

import errno
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from imagetrail.errors import ArtifactError, TrainingError, quoted
from imagetrail.files import artifacts
from imagetrail.files.form import MAX_SIDE, Form
from imagetrail.model import networks
from imagetrail.model.views import Views, views

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "model.json"
COVERAGES = range(50, 100)
"""Percentages for which a model has thresholds."""
HOTTEST = 100
"""Largest temperature of a model, beyond any that a calibration finds; its inverse is the smallest."""


@dataclass(frozen=True)
class Card:
    """models/model.json: the description that belongs to the weights."""

    name: str
    """A class of model/networks, or a classifier of torchvision."""
    arguments: dict[str, object]
    weights: dict[str, str] | None
    """Name and sha256 of the pretrained weights; None for a random start."""
    classes: list[str]
    channels: int
    image_size: list[int]
    """[height, width] in pixels, of the images that a model gets."""
    short_side: int | None
    """Pixels to which the short side is resized before cropping the centre; None if both sides are stretched."""
    mean: list[float]
    """Mean of each channel, for pixels in [0, 1]."""
    std: list[float]
    parameters: int
    """Number of parameters, including frozen ones."""
    sha256: str
    """sha256 of model.safetensors."""
    value_range: list[int] | None = None
    """Values that become 0 and 255 in images of more than 8 bits; None takes what their format can hold."""
    temperature: float = 1.0
    """What logits are divided by; see train/calibration.py."""
    input_size: list[int] | None = None
    """[height, width] in pixels of what the network sees: the centre of a larger image, or a smaller one enlarged; None
    is image_size."""
    views: Views | None = None
    """Versions of an image whose logits are averaged; None takes the image only."""
    thresholds: list[float] | None = None
    """For a coverage of 50, 51 … 99 %: the least probability of the labels in a set that holds the truth that often;
    see train/calibration.py. None without validation rows."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Build a card from JSON.

        Raises:
            ValueError: a field is missing, unknown, of another type, or contradicts another.
        """
        card = artifacts.parsed(cls, text)
        if card.channels not in (1, 3) or not len(card.mean) == len(card.std) == card.channels or min(card.std) <= 0:
            raise ValueError(f"channels = {card.channels}, mean = {card.mean} and std = {card.std} do not fit")
        for name, size in (("image_size", card.image_size), ("input_size", card.input_size or card.image_size)):
            if len(size) != 2 or not all(0 < side <= MAX_SIDE for side in size):
                raise ValueError(f"{name} = {quoted(size)} is not [height, width] in pixels")
        if card.short_side is not None and not max(card.image_size) <= card.short_side <= MAX_SIDE:
            raise ValueError(f"short_side = {card.short_side} is not from image_size to {MAX_SIDE}")
        if card.value_range is not None and (len(card.value_range) != 2 or card.value_range[0] >= card.value_range[1]):
            raise ValueError(f"value_range = {quoted(card.value_range)} is not [black, white]")
        if not 1 / HOTTEST <= card.temperature <= HOTTEST:
            raise ValueError(f"temperature = {card.temperature} is not from {1 / HOTTEST} to {HOTTEST}")
        if card.thresholds is not None and len(card.thresholds) != len(COVERAGES):
            raise ValueError(f"thresholds = {quoted(card.thresholds)} are not {len(COVERAGES)} numbers")
        if not card.classes or len(set(card.classes)) < len(card.classes) or "" in card.classes:
            raise ValueError(f"classes = {quoted(card.classes)} are not different names")
        return card

    def threshold(self, coverage: float) -> float:
        """Return the least probability of the labels in a set that holds the truth with a probability of `coverage`.

        Raises:
            ArtifactError: the model has no threshold for it.
        """
        known = [place for place, percent in enumerate(COVERAGES) if abs(percent / 100 - coverage) < 1e-9]
        if not known:
            raise ArtifactError(f"coverage = {coverage:g} is not one of 0.50, 0.51 … 0.99.")
        if self.thresholds is None:
            raise ArtifactError(
                "the model was trained without validation rows, which coverage needs; set split.val above 0 and train "
                "it again."
            )
        return self.thresholds[known[0]]

    @property
    def seen(self) -> tuple[int, int]:
        """(height, width) of what the network sees."""
        height, width = self.input_size or self.image_size
        return height, width

    @property
    def form(self) -> Form:
        """Return the form that images are converted to."""
        height, width = self.image_size
        levels = None if self.value_range is None else (self.value_range[0], self.value_range[1])
        return Form(self.channels, (height, width), self.short_side, levels)


class Classifier(nn.Module):
    """uint8 pixels in, logits out; normalisation happens inside, on the device; weights are channels last."""

    mean: Tensor
    std: Tensor

    def __init__(self, card: Card) -> None:
        """Build with random weights, drawn from torch's current random state.

        Raises:
            TrainingError: the network cannot be built for this image size.
        """
        super().__init__()
        self.network = networks.build(card.name, card.channels, card.seen, len(card.classes), card.arguments)
        _check_sizes(card)
        shape = (1, card.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(card.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).reshape(shape), persistent=False)
        self.card = replace(card, parameters=sum(p.numel() for p in self.parameters()))
        self.to(memory_format=torch.channels_last)

    @property
    def frozen(self) -> bool:
        """Return whether only the head learns, on the features of a frozen backbone."""
        return bool(getattr(self.network, "frozen", False))

    @property
    def head(self) -> nn.Module:
        """The last layer of a backbone."""
        head = self.network.head
        assert isinstance(head, nn.Module)
        return head

    def normalise(self, pixels: Tensor) -> Tensor:  # uint8 [N,C,H,W], or float32 in [0, 1] -> float32 [N,C,H,W]
        """Crop, scale, normalise and enlarge pixels, as the network expects them."""
        pixels = centre(pixels, self.card.seen)
        scaled = (pixels / 255).sub_(self.mean) if pixels.dtype == torch.uint8 else pixels - self.mean
        images = scaled.div_(self.std).contiguous(memory_format=torch.channels_last)
        if images.shape[2:] == self.card.seen:
            return images
        return functional.interpolate(images, self.card.seen, mode="bilinear", antialias=True)

    def over_views(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Average what a network returns for the card's views of normalised images; in training, take the images only.

        Args:
            network: takes float32 [N,C,H,W] and returns float32 [N,D], logits or features.
            images: float32 [N,C,H,W].
        """
        if self.training or self.card.views is None:
            return network(images)
        answers = [network(view) for view in views(images, self.card.views)]
        return reduce(torch.add, answers) / len(answers)

    def forward(self, pixels: Tensor) -> Tensor:  # uint8 [N,C,H,W], or float32 in [0, 1] -> float32 [N,K]
        """Return logits of raw pixels, or of pixels that an augmentation has scaled."""
        logits = self.over_views(self.network, self.normalise(pixels))
        return logits if self.card.temperature == 1 else logits / self.card.temperature


def centre(pixels: Tensor, size: tuple[int, int]) -> Tensor:  # [N,C,H,W] -> [N,C,h,w]
    """Cut the centre of (height, width) out of larger images; smaller ones stay as they are."""
    top, left = (max(0, (whole - part) // 2) for whole, part in zip(pixels.shape[2:], size, strict=True))
    return pixels[:, :, top : top + size[0], left : left + size[1]]


def _check_sizes(card: Card) -> None:
    """Raise TrainingError if images would be cropped along one side and enlarged along the other."""
    larger = [whole > part for whole, part in zip(card.image_size, card.seen, strict=True)]
    smaller = [whole < part for whole, part in zip(card.image_size, card.seen, strict=True)]
    if any(larger) and any(smaller):
        raise TrainingError(
            f"model.input_size = {list(card.seen)} is larger than the images, {card.image_size}, along one side and "
            "smaller along the other; make both sides larger or both smaller."
        )


class ProbabilityModel(nn.Module):
    """A classifier that returns probabilities; the form in which models are exported."""

    def __init__(self, classifier: Classifier) -> None:
        """Wrap a classifier; both share the weights."""
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:  # uint8 [N,C,H,W] -> float32 [N,K], rows sum to 1
        """Return probabilities of raw pixels."""
        probabilities: Tensor = self.classifier(pixels).float().softmax(dim=1)
        return probabilities


def save(classifier: Classifier, folder: Path) -> None:
    """Write the two files into `folder`, which replaces an earlier one as a whole."""
    with artifacts.writing_folder(folder) as temporary:
        weights = {name: tensor.contiguous() for name, tensor in classifier.state_dict().items()}
        try:
            save_file(weights, temporary / WEIGHTS_FILE)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(errno.EIO, str(error), str(temporary / WEIGHTS_FILE)) from None
        (temporary / WEIGHTS_FILE).chmod(0o644)
        classifier.card = replace(classifier.card, sha256=artifacts.file_sha256(temporary / WEIGHTS_FILE))
        artifacts.write_json(temporary / CARD_FILE, asdict(classifier.card))


def load(folder: Path) -> Classifier:
    """Read a classifier for evaluation, on the CPU.

    Raises:
        ArtifactError: a file is missing, or the weights do not belong to the card.
    """
    card = read_card(folder)
    with artifacts.reading(folder / WEIGHTS_FILE, "train") as path:
        found = artifacts.file_sha256(path)
    if found != card.sha256:
        raise ArtifactError(
            f"{path} has sha256 {found[:12]}… and {CARD_FILE} names {card.sha256[:12]}…; restore both with "
            "`dvc checkout`."
        )
    try:
        return _restored(card, load_file(path))
    except SafetensorError as error:
        raise ArtifactError(f"{path} is not a safetensors file ({error}); restore it with `dvc checkout`.") from None


def _restored(card: Card, weights: dict[str, Tensor]) -> Classifier:
    try:
        with torch.random.fork_rng(devices=[]):  # random weights are drawn and overwritten
            classifier = Classifier(card)
        classifier.load_state_dict(weights)
    except (RuntimeError, TrainingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"the weights do not fit the network {card.name} ({reason}); train it again.") from None
    return classifier.eval()


def read_card(folder: Path) -> Card:
    """Read model.json."""
    with artifacts.reading(folder / CARD_FILE, "train") as path:
        return Card.of(path.read_text(encoding="utf-8"))
