"""Answers for image files, decoded as `preprocess` decodes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagetrail import images
from imagetrail.arrays import Pixels
from imagetrail.errors import DataError
from imagetrail.images import Form

BATCH = 64


@dataclass(frozen=True)
class Predictor:
    """A trained model, from wherever it was loaded."""

    classes: list[str]
    form: Form
    """What images are turned into."""
    answer: Callable[[Pixels], npt.NDArray[np.floating]]
    """uint8 [N,C,H,W] to probabilities [N,K]."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one file."""

    image: str
    label: str
    probabilities: dict[str, float]


def predict(predictor: Predictor, paths: Sequence[Path]) -> tuple[list[Prediction], list[str]]:
    """Answer for every file that can be decoded.

    Returns:
        (predictions in the order of `paths`, a sentence for each file that could not be decoded).
    """
    predictions: list[Prediction] = []
    problems: list[str] = []
    for start in range(0, len(paths), BATCH):
        names, pixels = [], []
        for path in paths[start : start + BATCH]:
            try:
                pixels.append(images.decode(images.read(path), predictor.form).pixels)
                names.append(str(path))
            except DataError as error:
                problems.append(f"{path}: {error}")
        if not names:
            continue
        for name, row in zip(names, predictor.answer(np.stack(pixels)), strict=True):
            probabilities = {label: float(p) for label, p in zip(predictor.classes, row, strict=True)}
            predictions.append(Prediction(name, max(probabilities, key=lambda k: probabilities[k]), probabilities))
    return predictions, problems


def from_files(folder: Path) -> Predictor:
    """The model that the stage `train` left in `folder`."""
    import torch

    from imagetrail import classifier
    from imagetrail.evaluation import predict_batches

    model = classifier.load(folder)
    return Predictor(
        classes=model.card.classes,
        form=model.card.form,
        answer=lambda pixels: predict_batches(model, [pixels], torch.device("cpu")),
    )
