"""Compute the figures of metrics/test.json: sums over all rows, divided once."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, precision_recall_fscore_support

from imagetrail.evaluate.inference import Predictions, Probabilities


def measure(predictions: Predictions, calibration_bins: int) -> dict[str, object]:
    """Compute what metrics/test.json holds.

    `loss` is the mean negative log-likelihood in nats, `macro_f1` the unweighted mean of the classes' F1 scores, `ece`
    the expected calibration error over equal-width bins of confidence (Guo et al., 2017), `n` the rows. A class that
    is never predicted has precision 0.
    """
    labels, predicted = predictions.labels, predictions.predicted
    every = range(len(predictions.classes))
    truth = predictions.probabilities[np.arange(len(labels)), labels]
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0.0)
    return {
        "accuracy": float((predicted == labels).mean()),
        "loss": float(-np.log(np.maximum(truth, np.finfo(np.float64).tiny)).mean()),
        "macro_f1": float(f1_score(labels, predicted, labels=every, average="macro", zero_division=0.0)),
        "ece": calibration_error(predictions.confidence, predicted == labels, calibration_bins),
        "n": len(labels),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(predictions.classes, precision, recall, f1, support, strict=True)
        },
    }


def calibration_error(confidence: Probabilities, correct: npt.NDArray[np.bool_], bins: int) -> float:
    """Compute the expected calibration error (Guo et al., 2017, equation 3): the mean gap of accuracy and confidence.

    Args:
        confidence: [n], in (0, 1].
        correct: bool [n].
        bins: equal-width bins of (0, 1], closed on the right.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
