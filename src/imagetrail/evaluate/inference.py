"""Predict the test rows, which influenced no choice.

Probabilities of all classes pass by batch by batch, so that memory does not grow with rows times classes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from imagetrail.files.arrays import Indices, Subset
from imagetrail.model import devices
from imagetrail.model.classifier import Classifier
from imagetrail.model.probabilities import Probabilities, of_batches
from imagetrail.params.evaluate import Evaluate

LIKELIEST = 3
"""Classes of each row that are kept."""
COVERAGE = 0.95
"""Of the sets of labels that are measured."""


@dataclass(frozen=True)
class Predictions:
    """The model's predictions for the test rows."""

    classes: list[str]
    rows: Indices
    """int64 [n], rows of the tensors."""
    labels: Indices
    """int64 [n], true class indices."""
    threshold: float | None
    """The least probability of a label in the sets that hold the truth with a probability of COVERAGE; None if the
    model has none. The likeliest label is always in them."""
    likeliest: Indices
    """int64 [n,m], the m most probable classes, the most probable first; m is LIKELIEST, or the number of classes."""
    probabilities: Probabilities
    """float64 [n,m], their probabilities."""
    truth: Probabilities
    """float64 [n], the probability of the true class."""
    rank: Indices
    """int64 [n], classes that are more probable than the true one; of equally probable ones the first come first."""
    uncalibrated: Probabilities
    """float64 [n], the confidence without the model's temperature; equal to `confidence` where that is 1."""
    set_sizes: Indices
    """int64 [n], labels in the set that holds the truth with a probability of COVERAGE."""

    @classmethod
    def of(
        cls, classes: list[str], rows: Indices, labels: Indices, batches: Iterable[Probabilities],
        temperature: float = 1.0, threshold: float | None = None,
    ) -> Self:  # fmt: skip
        """Keep what is needed of all probabilities.

        Args:
            classes: their names.
            rows: int64 [n].
            labels: int64 [n].
            batches: float64 [b,K], the probabilities of b rows each, in order.
            temperature: of the model that gave them.
            threshold: the model's for COVERAGE.
        """
        n, kept = len(rows), min(LIKELIEST, len(classes))
        found = cls(  # in one piece each: small arrays that stay between those of the network would tear up the memory
            classes, rows, labels, threshold, np.empty((n, kept), np.int64), np.empty((n, kept)), np.empty(n),
            np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64),
        )  # fmt: skip
        done = 0
        for batch in batches:
            part = slice(done, done + len(batch))
            order = np.argsort(-batch, axis=1, kind="stable")
            likeliest = order[:, :kept]
            found.rank[part] = (order == labels[part][:, None]).argmax(axis=1)
            chosen = np.take_along_axis(batch, likeliest, 1)
            found.likeliest[part], found.probabilities[part] = likeliest, chosen
            found.truth[part] = batch[np.arange(len(batch)), labels[part]]
            found.uncalibrated[part] = chosen[:, 0] if temperature == 1 else _heated(batch, temperature)
            found.set_sizes[part] = np.maximum((batch >= (1 if threshold is None else threshold)).sum(axis=1), 1)
            done += len(batch)
        return found

    @property
    def predicted(self) -> Indices:
        """int64 [n], the most probable class."""
        return self.likeliest[:, 0]

    @property
    def confidence(self) -> Probabilities:
        """float64 [n], the probability of the predicted class."""
        return self.probabilities[:, 0]

    def mistakes(self) -> Indices:
        """Return the positions of wrong answers, the most confident first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


def _heated(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return the largest probability of each row as it was before logits were divided by a temperature."""
    powers = probabilities**temperature
    heated: Probabilities = powers.max(axis=1) / powers.sum(axis=1)
    return heated


def predict(
    classifier: Classifier,
    subset: Subset,
    options: Evaluate,
    keep: Callable[[Probabilities], object] = lambda batch: None,
) -> Predictions:
    """Predict every row of a subset; `keep` gets all probabilities of each batch, float64 [b,K]."""
    device = devices.choose(options.device)
    starts = range(0, len(subset), options.batch_size)
    pixels = (subset.read(subset.rows[start : start + options.batch_size]) for start in starts)

    def kept() -> Iterator[Probabilities]:
        for batch in of_batches(classifier, pixels, device):
            keep(batch)
            yield batch

    with devices.repeatable(device, options.threads):
        labels = subset.labels[subset.rows]
        card = classifier.card
        threshold = None if card.thresholds is None else card.threshold(COVERAGE)
        return Predictions.of(subset.dataset.classes, subset.rows, labels, kept(), card.temperature, threshold)
