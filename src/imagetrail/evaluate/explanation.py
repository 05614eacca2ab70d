"""Explain answers by heatmaps, and test whether these mark what the answers depend on."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from imagetrail.errors import DataError
from imagetrail.evaluate.inference import Predictions
from imagetrail.files.arrays import Indices, Pixels, Subset
from imagetrail.model import devices
from imagetrail.model.classifier import Classifier
from imagetrail.model.heatmaps import Heatmaps, heatmaps
from imagetrail.model.probabilities import of_batches

TESTED = 50
"""Images of the deletion test."""
HIDDEN = 0.2
"""Share of an image that it hides."""
SHIFTS = 2
"""Other places of an image that it hides for comparison."""


@dataclass(frozen=True)
class Deletion:
    """The mean loss of confidence when a part of an image is hidden behind the image's mean colour."""

    marked: float
    """Of the part that the heatmap marks most."""
    elsewhere: float
    """Of a part of the same form at random places."""
    n: int
    """Images."""


@dataclass(frozen=True)
class Explanation:
    """The explanation of some answers."""

    heat: Heatmaps
    """float32 [m,H,W], for the class that the model answered."""
    deletion: Deletion

    @property
    def figures(self) -> dict[str, object]:
        """The part of metrics/test.json."""
        return {"deletion": asdict(self.deletion)}


def explain(
    model: Classifier, test: Subset, predictions: Predictions, positions: Indices, threads: int
) -> Explanation | str:
    """Explain some answers, and test the heatmaps on images spread over the test rows.

    Args:
        model: in evaluation mode; moved to the CPU.
        test: the test rows.
        predictions: the model's answers for them.
        positions: int64 [m], of the answers to explain.
        threads: of the CPU.

    Returns:
        The explanation, or why the network has none.
    """
    with devices.repeatable(devices.CPU, threads):
        try:
            heat = heatmaps(model, test.read(test.rows[positions]), predictions.predicted[positions])
            return Explanation(heat, _deletion(model, test, predictions))
        except DataError as error:
            return str(error)


def _deletion(model: Classifier, test: Subset, predictions: Predictions) -> Deletion:
    spread = np.unique(np.linspace(0, len(test) - 1, TESTED).astype(np.int64))
    pixels, codes = test.read(test.rows[spread]), predictions.predicted[spread]
    marked = most_heated(heatmaps(model, pixels, codes))
    confidence = _confidence(model, pixels, codes)
    losses = [confidence - _confidence(model, hide(pixels, mask), codes) for mask in (marked, *_shifted(marked))]
    return Deletion(float(losses[0].mean()), float(np.mean(losses[1:])), len(spread))


def most_heated(heat: Heatmaps) -> npt.NDArray[np.bool_]:
    """Return the HIDDEN share of each image's pixels that are hottest, bool [n,H,W]; of equal ones the first."""
    flat = heat.reshape(len(heat), -1)
    chosen = np.argsort(-flat, axis=1, kind="stable")[:, : max(1, round(HIDDEN * flat.shape[1]))]
    mask = np.zeros(flat.shape, bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    return mask.reshape(heat.shape)


def _shifted(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    """Return masks of the same form elsewhere: each image's, moved around by random steps; a part may stay marked."""
    random = np.random.default_rng(0)
    height, width = mask.shape[1:]
    return [
        np.stack([np.roll(one, (random.integers(0, height), random.integers(0, width)), axis=(0, 1)) for one in mask])
        for _ in range(SHIFTS)
    ]


def hide(pixels: Pixels, mask: npt.NDArray[np.bool_]) -> Pixels:
    """Return uint8 [n,C,H,W] with the mean colour of each image where the mask, bool [n,H,W], is true."""
    mean = pixels.mean(axis=(2, 3), keepdims=True).round().astype(np.uint8)
    return np.where(mask[:, None], mean, pixels)


def _confidence(model: Classifier, pixels: Pixels, codes: Indices) -> npt.NDArray[np.float64]:
    (probabilities,) = of_batches(model, [pixels], devices.CPU)
    chosen: npt.NDArray[np.float64] = probabilities[np.arange(len(codes)), codes]
    return chosen
