"""Classify image files, decoded as `preprocess` decodes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from imagetrail.errors import DataError
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


def predict(model: Classifier, paths: Sequence[Path]) -> tuple[list[Prediction], list[str]]:
    """Classify every file that can be decoded, on the CPU.

    Returns:
        (predictions in the order of `paths`, a sentence for each file that could not be decoded).
    """
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
        for name, row in zip(names, predict_batches(model, [np.stack(pixels)], torch.device("cpu")), strict=True):
            probabilities = {label: float(p) for label, p in zip(model.card.classes, row, strict=True)}
            predictions.append(Prediction(name, max(probabilities, key=lambda k: probabilities[k]), probabilities))
    return predictions, problems
