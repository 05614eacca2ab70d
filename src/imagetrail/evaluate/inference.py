"""Predict the test rows, which influenced no choice."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from imagetrail.errors import ArtifactError
from imagetrail.files.arrays import Indices, Pixels, Subset
from imagetrail.model import devices
from imagetrail.model.classifier import Classifier
from imagetrail.model.feeds import moved
from imagetrail.params.evaluate import Evaluate

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """The model's predictions for the test rows."""

    classes: list[str]
    rows: Indices
    """int64 [n], rows of the tensors."""
    labels: Indices
    """int64 [n], true class indices."""
    probabilities: Probabilities
    """float64 [n,K], each row sums to 1."""

    @property
    def predicted(self) -> Indices:
        """int64 [n], the most probable class."""
        predicted: Indices = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def confidence(self) -> Probabilities:
        """float64 [n], the probability of the predicted class."""
        confidence: Probabilities = self.probabilities.max(axis=1)
        return confidence

    def mistakes(self) -> Indices:
        """Return the positions of wrong answers, the most confident first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


def predict(classifier: Classifier, subset: Subset, options: Evaluate) -> Predictions:
    """Predict every row of a subset."""
    batches = (subset.rows[s : s + options.batch_size] for s in range(0, len(subset), options.batch_size))
    device = devices.choose(options.device)
    with devices.repeatable(device, options.threads):
        probabilities = predict_batches(classifier, (subset.images[rows] for rows in batches), device)
    return Predictions(subset.dataset.classes, subset.rows, subset.labels[subset.rows], probabilities)


def predict_batches(classifier: Classifier, batches: Iterable[Pixels], device: torch.device) -> Probabilities:
    """Return probabilities, float64 [n,K], of batches of uint8 [b,C,H,W]; always in float32 arithmetic.

    Raises:
        ArtifactError: a probability is not a number.
    """
    classifier = classifier.to(device)
    with torch.inference_mode():
        logits = [classifier(pixels).cpu().double() for (pixels,) in moved(((batch,) for batch in batches), device)]
    probabilities: Probabilities = torch.cat(logits).softmax(dim=1).numpy()
    if not np.isfinite(probabilities).all():
        raise ArtifactError("the model's answers are not numbers; its training diverged, so lower the learning rate.")
    return probabilities
