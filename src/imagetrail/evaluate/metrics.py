"""Compute the figures of metrics/test.json: sums over all rows, divided once."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from imagetrail.files.arrays import Indices

if TYPE_CHECKING:
    from imagetrail.evaluate.inference import Predictions

Floats = npt.NDArray[np.float64]
TOP = (3, 5)
"""Numbers of most probable classes among which the truth is looked for."""


class PerClass(NamedTuple):
    """Figures of each class, float64 [K] each; 0 if a class is never predicted or has no rows."""

    precision: Floats
    recall: Floats
    f1: Floats
    n: Indices
    """int64 [K], rows of the class."""


def measure(predictions: "Predictions", calibration_bins: int) -> dict[str, object]:
    """Compute the contents of metrics/test.json.

    `loss` is the mean negative log-likelihood in nats, `ece` the expected calibration error over equal-width bins of
    confidence (Guo et al., 2017), `ece_uncalibrated` the same without the model's temperature, `n` the rows.
    `macro_f1` and `balanced_accuracy` are unweighted means over classes, and `…_classes` says over how many: those that
    occur among labels or predictions, and those with test rows. `top_3` and `top_5` are how often the truth is among
    the most probable classes. `coverage_95` is how often the set of labels for a coverage of 95 % holds the truth,
    `set_size_95` its mean size. A class that is never predicted has precision 0.
    """
    labels, predicted = predictions.labels, predictions.predicted
    classes, correct = per_class(labels, predicted, len(predictions.classes)), predicted == labels
    return {
        "accuracy": float(correct.mean()),
        "loss": float(-np.log(np.maximum(predictions.truth, np.finfo(np.float64).tiny)).mean()),
        **_means(labels, predicted, classes),
        **{f"top_{k}": float((predictions.rank < k).mean()) for k in TOP if k < len(predictions.classes)},
        "ece": calibration_error(predictions.confidence, correct, calibration_bins),
        "ece_uncalibrated": calibration_error(predictions.uncalibrated, correct, calibration_bins),
        **_sets(predictions),
        "n": len(labels),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(predictions.classes, *classes, strict=True)
        },
    }


def _means(labels: Indices, predicted: Indices, classes: PerClass) -> dict[str, float]:
    tested = classes.n > 0
    return {
        "macro_f1": macro_f1(labels, predicted, len(tested)),
        "macro_f1_classes": len(np.union1d(labels, predicted)),
        "balanced_accuracy": float(classes.recall[tested].mean()),
        "balanced_accuracy_classes": int(tested.sum()),
    }


def _sets(predictions: "Predictions") -> dict[str, float]:
    """Measure the sets of labels; nothing if the model has no threshold for them."""
    if predictions.threshold is None:
        return {}
    held = (predictions.truth >= predictions.threshold) | (predictions.predicted == predictions.labels)
    return {"coverage_95": float(held.mean()), "set_size_95": float(predictions.set_sizes.mean())}


def per_class(labels: Indices, predicted: Indices, classes: int) -> PerClass:
    """Compute precision, recall and F1 of each class.

    The figures are those of scikit-learn's precision_recall_fscore_support with every class among the labels, which
    takes two seconds to import and is too slow for a bootstrap.

    Args:
        labels: int64 [n], true class indices.
        predicted: int64 [n].
        classes: their number, K.
    """
    right = np.bincount(labels[labels == predicted], minlength=classes)
    true, guessed = np.bincount(labels, minlength=classes), np.bincount(predicted, minlength=classes)
    precision, recall, f1 = (
        part / np.maximum(whole, 1) for part, whole in ((right, guessed), (right, true), (2 * right, true + guessed))
    )
    return PerClass(precision, recall, f1, true)


def macro_f1(labels: Indices, predicted: Indices, classes: int) -> float:
    """Compute the unweighted mean of the F1 scores of the classes that occur among labels or predictions.

    That is scikit-learn's f1_score(average="macro") without `labels`: a class without test rows that the model never
    predicts has no F1 score, and counting it as 0 would rate a perfect model below 1.
    """
    figures = per_class(labels, predicted, classes)
    return float(figures.f1[np.bincount(np.concatenate([labels, predicted]), minlength=classes) > 0].mean())


def auroc(scores: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]) -> float:
    """Compute the area under the ROC curve, by the Mann-Whitney statistic: ties count half.

    It equals scikit-learn's roc_auc_score, whose import takes two seconds.

    Args:
        scores: [n], higher for the positive.
        positive: bool [n], of which some are true and some false.
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middles = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ranks from 1
    right = int(positive.sum())
    return float((middles[positive].sum() - right * (right + 1) / 2) / (right * (len(scores) - right)))


def bin_of(confidence: Floats, bins: int) -> Indices:
    """Return the number of each confidence's bin, int64 [n]: equal-width bins of (0, 1], closed on the right."""
    index: Indices = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return index


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int) -> float:
    """Compute the expected calibration error (Guo et al., 2017, equation 3): the mean gap of accuracy and confidence.

    Args:
        confidence: [n], in (0, 1].
        correct: bool [n].
        bins: equal-width bins of (0, 1], closed on the right.
    """
    index = bin_of(confidence, bins)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
