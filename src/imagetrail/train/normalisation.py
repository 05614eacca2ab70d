"""Measure the train rows; mean and standard deviation travel inside the model, on its card."""

import math

import numpy as np
import numpy.typing as npt

from imagetrail.files.arrays import Subset
from imagetrail.files.artifacts import Weights
from imagetrail.model import networks
from imagetrail.model.classifier import Card
from imagetrail.model.networks import backbone
from imagetrail.params.model import Model
from imagetrail.params.train import Normalisation


def channel_statistics(subset: Subset) -> tuple[list[float], list[float]]:
    """Return (mean, standard deviation) of each channel over the subset's pixels, scaled to [0, 1].

    Sums are exact integers over chunks of rows, so that memory does not grow and the order does not matter. A channel
    without variation gets a standard deviation of 1.
    """
    channels = subset.dataset.channels
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(subset), 1024):
        pixels: npt.NDArray[np.uint8] = subset.read(subset.rows[start : start + 1024])
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel].ravel(), minlength=256)
    levels, total = np.arange(256), counts.sum(axis=1)
    mean = (counts * levels).sum(axis=1) / total
    variance = np.maximum((counts * levels**2).sum(axis=1) / total - mean**2, 0)
    return (mean / 255).tolist(), [math.sqrt(v) / 255 if v > 0 else 1.0 for v in variance]


def new_card(model: Model, weights: Weights | None, normalisation: Normalisation | None, train: Subset) -> Card:
    """Create the card of a classifier that will be trained on `train`; statistics come only from its rows.

    Args:
        model: section `model` of params.yaml.
        weights: what `download` found for model.weights.
        normalisation: train.normalisation of params.yaml; None takes the values that pretrained weights expect, or the
            statistics of the rows.
        train: the train rows.
    """
    if normalisation is not None:
        mean, std = normalisation.mean, normalisation.std
    elif weights is not None and model.name not in networks.NETWORKS:
        mean, std = backbone.expected_normalisation(model.name)
    else:
        mean, std = channel_statistics(train)
    seen = None if model.seen_size is None else list(model.seen_size)
    if seen is None and weights is not None and model.name not in networks.NETWORKS:
        seen = backbone.expected_size(model.name)
    return Card(
        name=model.name,
        arguments=model.arguments,
        weights=None if weights is None else {"name": weights.name, "sha256": weights.sha256},
        classes=train.dataset.classes,
        channels=train.dataset.channels,
        image_size=list(train.dataset.image_size),
        input_size=seen,
        views=model.views,
        short_side=train.dataset.short_side,
        mean=mean,
        std=std,
        parameters=0,
        sha256="",
        value_range=train.dataset.value_range,
    )
