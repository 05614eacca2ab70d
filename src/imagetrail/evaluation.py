"""How good the model is on rows that chose nothing: sums over all rows, divided once."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import f1_score, precision_recall_fscore_support

from imagetrail import artifacts, devices
from imagetrail.arrays import Indices, Pixels, Subset
from imagetrail.classifier import Classifier
from imagetrail.params import Evaluate

Probabilities = npt.NDArray[np.float64]
DIGITS = 6
"""Decimals of a written probability: float32 sums differ in the seventh with the batch that an image is in."""


@dataclass(frozen=True)
class Predictions:
    """The model's answers for the test rows."""

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
        """Positions of wrong answers, the most confident first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


def predict(classifier: Classifier, subset: Subset, options: Evaluate) -> Predictions:
    """Answer for every row of a subset."""
    batches = (subset.rows[s : s + options.batch_size] for s in range(0, len(subset), options.batch_size))
    device = devices.choose(options.device)
    with devices.repeatable(device, options.threads):
        probabilities = predict_batches(classifier, (subset.images[rows] for rows in batches), device)
    return Predictions(subset.dataset.classes, subset.rows, subset.labels[subset.rows], probabilities)


def predict_batches(classifier: Classifier, batches: Iterable[Pixels], device: torch.device) -> Probabilities:
    """Probabilities, float64 [n,K], of batches of uint8 [b,C,H,W]; always in float32 arithmetic."""
    classifier = classifier.to(device)
    with torch.inference_mode():
        logits = [classifier(torch.from_numpy(batch).to(device)).cpu().double() for batch in batches]
    return torch.cat(logits).softmax(dim=1).numpy()


def measure(predictions: Predictions, calibration_bins: int) -> dict[str, object]:
    """metrics/test.json.

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
    """Expected calibration error (Guo et al., 2017, equation 3): the mean gap of accuracy and confidence over bins.

    Args:
        confidence: [n], in (0, 1].
        correct: bool [n].
        bins: equal-width bins of (0, 1], closed on the right.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def write_predictions(path: Path, predictions: Predictions, root: Path) -> None:
    """plots/predictions.csv: a line for each test row with its image's name and all probabilities."""
    wanted = set(predictions.rows.tolist())
    names = [row.image for index, row in enumerate(artifacts.read_tensor_rows(root)) if index in wanted]
    header = ["image", "label", "predicted", "confidence", *(f"p({name})" for name in predictions.classes)]
    classes = predictions.classes
    lines = (
        [name, classes[label], classes[guess], *(f"{p:.{DIGITS}f}" for p in (probabilities[guess], *probabilities))]
        for name, label, guess, probabilities in zip(
            names, predictions.labels, predictions.predicted, predictions.probabilities, strict=True
        )
    )
    artifacts.write_rows(path, header, lines)
