"""Classify image files, decoded as `preprocess` decodes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from imagetrail.download import kinds, names
from imagetrail.errors import DataError, natural_key
from imagetrail.evaluate.inference import predict_batches
from imagetrail.model.classifier import Classifier
from imagetrail.preprocess import decode

FILE_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """The prediction for one file."""

    image: str
    label: str
    probabilities: dict[str, float]
    labels: list[str] | None
    """The labels of the set that holds the truth as often as asked, the likeliest first; None if not asked."""


def expanded(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Replace each folder by the images below it, as people count them.

    Returns:
        (files, a sentence for each folder without images and for files in folders that are none).
    """
    files: list[Path] = []
    remarks: list[str] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = [file for file in path.rglob("*") if not _is_hidden(file.relative_to(path)) and not file.is_dir()]
        images = [file for file in found if kinds.is_image(file)]
        files += sorted(images, key=lambda file: [natural_key(part) for part in file.parts])
        if not images:
            remarks.append(f"{path} holds no images")
        elif len(found) > len(images):
            remarks.append(f"{path} holds {len(found) - len(images)} files that are not images")
    return files, remarks


def _is_hidden(path: Path) -> bool:
    return any(names.is_hidden(part) for part in path.parts)


def predict(
    model: Classifier, paths: Sequence[Path], coverage: float | None = None
) -> tuple[list[Prediction], list[str]]:
    """Classify every file that can be decoded, on the CPU.

    Args:
        model: the classifier.
        paths: files.
        coverage: probability with which the predictions' sets of labels hold the truth; None asks for no sets.

    Returns:
        (predictions in the order of `paths`, a sentence for each file that could not be decoded).

    Raises:
        ArtifactError: the model has no threshold for the coverage.
    """
    threshold = None if coverage is None else model.card.threshold(coverage)
    predictions: list[Prediction] = []
    problems: list[str] = []
    for start in range(0, len(paths), FILE_BATCH):
        names, pixels = [], []
        for path in paths[start : start + FILE_BATCH]:
            try:
                pixels.append(decode.decode(decode.read(path), model.card.form).pixels)
                names.append(str(path))
            except DataError as error:
                problems.append(f"{path}: {error}")
        if not names:
            continue
        (rows,) = predict_batches(model, [np.stack(pixels)], torch.device("cpu"))
        for name, row in zip(names, rows, strict=True):
            probabilities = {label: float(p) for label, p in zip(model.card.classes, row, strict=True)}
            likeliest = sorted(probabilities, key=lambda k: -probabilities[k])
            labels = None
            if threshold is not None:
                labels = likeliest[:1] + [label for label in likeliest[1:] if probabilities[label] >= threshold]
            predictions.append(Prediction(name, likeliest[0], probabilities, labels))
    return predictions, problems
