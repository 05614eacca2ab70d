"""Compare two models on the same images: the differences, and whether they are significant."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagetrail.errors import DataError
from imagetrail.evaluate.answers import Answers
from imagetrail.evaluate.metrics import macro_f1

RESAMPLES = 2000
LEVEL = 0.95
"""Confidence level of the intervals; tests use one minus this as their significance level."""
FIGURES = ("accuracy", "loss", "macro_f1")


class Interval(NamedTuple):
    """A figure with a confidence interval of LEVEL.

    An accuracy has Wilson's interval, the difference of two accuracies Tango's; loss and macro F1 have percentiles of a
    bootstrap over the images.
    """

    value: float
    low: float
    high: float


class Disagreement(NamedTuple):
    """An image that only one of two models classifies correctly."""

    image: str
    label: str
    first: str
    """The first model's prediction."""
    first_confidence: float
    second: str
    second_confidence: float


@dataclass(frozen=True)
class Comparison:
    """The comparison of a second model with a first."""

    n: int
    """Images that both runs tested."""
    only_first: int
    """Images that only the first classifies correctly."""
    only_second: int
    p_value: float
    """McNemar's test of equal accuracy; below 1 - LEVEL exactly where the interval of the difference excludes 0."""
    figures: Mapping[str, tuple[Interval, Interval, Interval]]
    """accuracy, loss and macro_f1 of the first, of the second, and the second minus the first."""
    recalls: Mapping[str, tuple[float, float]]
    """Recall of each class: (first, second)."""
    disagreements: list[Disagreement]

    @property
    def is_worse(self) -> bool:
        """Return whether the second is significantly less accurate."""
        return self.only_second < self.only_first and self.p_value < 1 - LEVEL

    def verdict(self) -> str:
        """Summarise the comparison in a sentence."""
        if self.p_value >= 1 - LEVEL:
            return f"the difference in accuracy is not significant (McNemar's test, p = {self.p_value:.2g})"
        word = "less" if self.is_worse else "more"
        return f"the second is significantly {word} accurate (McNemar's test, p = {self.p_value:.2g})"


def compare(first: Answers, second: Answers) -> Comparison:
    """Compare two models on the images that both runs tested.

    Raises:
        DataError: they have no image in common, or an image has two labels.
    """
    first, second = _common(first, second)
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((~first.correct & second.correct).sum())
    return Comparison(
        n=len(first.images),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        figures={"accuracy": _accuracies(first, second, only_first, only_second)}
        | {name: _intervals(first, second, function) for name, function in FUNCTIONS.items()},
        recalls=_recalls(first, second),
        disagreements=[
            Disagreement(
                image=first.images[row],
                label=first.classes[first.labels[row]],
                first=first.classes[first.predicted[row]],
                first_confidence=float(first.confidence[row]),
                second=second.classes[second.predicted[row]],
                second_confidence=float(second.confidence[row]),
            )
            for row in np.flatnonzero(first.correct != second.correct).tolist()
        ],
    )


def _common(first: Answers, second: Answers) -> tuple[Answers, Answers]:
    if first.classes != second.classes:
        raise DataError(
            f"the first model knows the classes {', '.join(first.classes)} and the second {', '.join(second.classes)}; "
            "compare models of the same classes."
        )
    both = sorted(set(first.images) & set(second.images))
    if not both:
        raise DataError("the two models were tested on no image in common; evaluate them on the same data.")
    first, second = (_rows(answers, both) for answers in (first, second))
    if differing := np.flatnonzero(first.labels != second.labels).tolist():
        name = first.images[differing[0]]
        raise DataError(f"{name!r} had another label when the second model was tested; evaluate both on the same data.")
    return first, second


def _rows(answers: Answers, images: list[str]) -> Answers:
    if images == answers.images:
        return answers
    rows = np.searchsorted(answers.images, images)
    return Answers(
        images,
        answers.classes,
        answers.labels[rows],
        answers.predicted[rows],
        answers.confidence[rows],
        answers.truth[rows],
    )


Figure = Callable[[Answers, npt.NDArray[np.intp]], float]
"""A figure computed from some rows of a model's predictions."""
FUNCTIONS: Mapping[str, Figure] = {
    "loss": lambda answers, rows: float(-np.log(np.maximum(answers.truth[rows], 1e-6)).mean()),
    "macro_f1": lambda answers, rows: macro_f1(answers.labels[rows], answers.predicted[rows], len(answers.classes)),
}


def mcnemar(only_first: int, only_second: int) -> float:
    """Test whether two models are equally accurate, by the images that only one of them classifies correctly.

    The p-value of McNemar's score test without a correction (McNemar, Psychometrika, 1947), which keeps its level where
    the exact test spends a fraction of it (Fagerland, Lydersen and Laake, BMC Medical Research Methodology, 2013).
    """
    differing = only_first + only_second
    return math.erfc(abs(only_second - only_first) / math.sqrt(2 * differing)) if differing else 1.0


def paired_difference(n: int, only_first: int, only_second: int) -> Interval:
    """Estimate the second accuracy minus the first, with Tango's score interval (Statistics in Medicine, 1998).

    The interval holds the differences that McNemar's test, generalised to differences other than 0, does not reject.

    Args:
        n: images that both models predicted, at least 1.
        only_first: images that only the first classifies correctly.
        only_second: images that only the second classifies correctly.
    """
    from scipy.optimize import brentq  # importing scipy takes a second, and only comparisons need it

    b, c, z = only_first, only_second, NormalDist().inv_cdf((1 + LEVEL) / 2)

    def excess(difference: float) -> float:
        """Return by how much the squared score exceeds z squared, times a variance that is never negative."""
        linear = (2 * n - c + b) * difference - b - c
        constant = -b * difference * (1 - difference)
        share = (-linear + max(linear**2 - 8 * n * constant, 0.0) ** 0.5) / (4 * n)  # likeliest share of only_first
        return float((c - b - n * difference) ** 2 - z**2 * n * (2 * share + difference * (1 - difference)))

    def limit(end: float) -> float:
        start = value + 1e-12 * (end - value)
        return end if excess(start) >= 0 else float(brentq(excess, start, end, xtol=1e-14))

    value = (c - b) / n
    return Interval(value, limit(-1.0), limit(1.0))


def _accuracies(
    first: Answers, second: Answers, only_first: int, only_second: int
) -> tuple[Interval, Interval, Interval]:
    n = len(first.images)
    return _accuracy(first), _accuracy(second), paired_difference(n, only_first, only_second)


def _accuracy(answers: Answers) -> Interval:
    from scipy.stats import binomtest

    right, n = int(answers.correct.sum()), len(answers.images)
    low, high = binomtest(right, n).proportion_ci(LEVEL, method="wilson")
    return Interval(right / n, float(low), float(high))


def _intervals(first: Answers, second: Answers, figure: Figure) -> tuple[Interval, Interval, Interval]:
    """Resample the images, the same ones for both models (Efron and Tibshirani, An Introduction to the Bootstrap)."""
    functions = (
        lambda rows: figure(first, rows),
        lambda rows: figure(second, rows),
        lambda rows: figure(second, rows) - figure(first, rows),
    )
    everything = np.arange(len(first.images))
    return tuple(_interval(everything, function) for function in functions)  # type: ignore[return-value]


def _interval(rows: npt.NDArray[np.intp], function: Callable[[npt.NDArray[np.intp]], float]) -> Interval:
    from scipy.stats import bootstrap

    value = function(rows)
    if len(rows) < 2:
        return Interval(value, value, value)
    result = bootstrap(
        (rows,), function, vectorized=False, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile",
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return Interval(value, float(result.confidence_interval.low), float(result.confidence_interval.high))


def _recalls(first: Answers, second: Answers) -> dict[str, tuple[float, float]]:
    return {
        name: (float(first.correct[rows].mean()), float(second.correct[rows].mean()))
        for code, name in enumerate(first.classes)
        if len(rows := np.flatnonzero(first.labels == code))
    }
