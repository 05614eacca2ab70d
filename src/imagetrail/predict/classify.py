"""Classify encoded images: threads decode the next ones while the network computes, so that neither waits long.

Memory holds a few batches, regardless of the number of images.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from imagetrail.errors import DataError
from imagetrail.files.arrays import Pixels
from imagetrail.model import probabilities
from imagetrail.model.classifier import Classifier
from imagetrail.model.probabilities import Probabilities
from imagetrail.preprocess import decode

CLASSIFIED_AT_ONCE = 64
"""Images that the network gets at once."""
WAITING_BATCHES = 2
"""Batches that are being decoded while the network computes another."""

Image = Path | bytes | Pixels
"""A file, the bytes of one, or pixels, uint8 [C,H,W], of the size that the network takes."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image, or the reason why there is none."""

    image: str
    """Its name."""
    classes: list[str]
    probabilities: Probabilities | None = None
    """float64 [K], of each class; None if the image cannot be decoded."""
    labels: list[str] | None = None
    """The labels of the set that holds the truth as often as asked, the likeliest first; None if not asked."""
    error: str | None = None
    """Why the image cannot be decoded; None if it can."""

    @property
    def label(self) -> str | None:
        """The likeliest class; of equally likely ones the first."""
        return None if self.probabilities is None else self.classes[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float | None:
        """The probability of the label."""
        return None if self.probabilities is None else float(self.probabilities.max())

    def ranked(self, count: int) -> list[tuple[str, float]]:
        """Return the likeliest classes with their probabilities, the likeliest first; none for an error."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[code], float(self.probabilities[code])) for code in order]


def classify(
    model: Classifier, images: Iterable[tuple[str, Image]], device: torch.device, coverage: float | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for each image, in order.

    Args:
        model: moves to the device.
        images: name and image; read as they are needed.
        device: that the network computes on.
        coverage: probability with which the sets of labels hold the truth; None asks for no sets.

    Raises:
        ArtifactError: the model has no threshold for the coverage, or its probabilities are not numbers.
    """
    threshold = None if coverage is None else model.card.threshold(coverage)
    waiting: deque[tuple[list[str], list[Future[list[Pixels | str]]]]] = deque()
    source = iter(images)
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        while True:
            while len(waiting) < WAITING_BATCHES and (batch := list(islice(source, CLASSIFIED_AT_ONCE))):
                parts = [[image for _, image in batch[part::cores]] for part in range(min(cores, len(batch)))]
                waiting.append(([name for name, _ in batch], [pool.submit(_decoded, model, part) for part in parts]))
            if not waiting:
                return
            names, futures = waiting.popleft()
            decoded: list[Pixels | str] = [""] * len(names)
            for part, future in enumerate(futures):
                decoded[part::cores] = future.result()
            yield from _predictions(model, names, decoded, device, threshold)


def _decoded(model: Classifier, images: list[Image]) -> list[Pixels | str]:
    """Return the pixels of each image, uint8 [C,H,W], or the reason why it cannot be decoded."""
    found: list[Pixels | str] = []
    form = model.card.form
    for image in images:
        try:
            if isinstance(image, np.ndarray):
                found.append(image)
            else:
                found.append(decode.decode(decode.read(image) if isinstance(image, Path) else image, form).pixels)
        except DataError as error:
            found.append(str(error))
    return found


def _predictions(
    model: Classifier, names: list[str], decoded: list[Pixels | str], device: torch.device, threshold: float | None
) -> Iterator[Prediction]:
    classes = model.card.classes
    pixels = [image for image in decoded if not isinstance(image, str)]
    batches = [np.stack(pixels)] if pixels else []
    rows = (row for batch in probabilities.of_batches(model, batches, device) for row in batch)
    for name, image in zip(names, decoded, strict=True):
        if isinstance(image, str):
            yield Prediction(name, classes, error=image)
        else:
            row = next(rows)
            yield Prediction(name, classes, row, None if threshold is None else _likely(classes, row, threshold))


def _likely(classes: list[str], row: Probabilities, threshold: float) -> list[str]:
    """Return the labels at least as probable as the threshold, and the likeliest in any case."""
    first, *others = np.argsort(-row, kind="stable")
    return [classes[first], *(classes[code] for code in others if row[code] >= threshold)]
