"""Small made-up values that the tests of several rooms share: a card, predictions, subsets, options."""

import numpy as np
from support import REPOSITORY

from imagetrail.evaluate.inference import Predictions
from imagetrail.files.arrays import Subset
from imagetrail.files.artifacts import Dataset
from imagetrail.model.classifier import Card
from imagetrail.params.load import load_params
from imagetrail.params.train import Train

CARD = Card(
    name="SmallCNN",
    arguments={"widths": [4, 8], "dropout": 0.1},
    weights=None,
    classes=["a", "b", "c"],
    channels=3,
    image_size=[9, 7],
    short_side=None,
    mean=[0.5, 0.4, 0.3],
    std=[0.2, 0.2, 0.2],
    parameters=0,
    sha256="",
)


def make_subset(images: np.ndarray, labels: list[int], rows: list[int], classes: list[str]) -> Subset:
    dataset = Dataset("csv", classes, {}, list(images.shape), None, 0, {}, {}, "x", {})
    return Subset(dataset, images, np.array(labels, np.int64), np.array(rows, np.int64))


PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.25, 0.75, 0.0], [0.6, 0.4, 0.0]])
PREDICTIONS = Predictions.of(["a", "b", "c"], np.array([2, 5, 7, 9]), np.array([0, 0, 1, 1]), [PROBABILITIES])


def options(**changes: object) -> Train:
    defaults = load_params(REPOSITORY).train.model_dump()
    return Train(**defaults | {"epochs": 3, "batch_size": 32, "threads": 1, "arithmetic": "native"} | changes)
