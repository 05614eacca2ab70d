"""Compare two models on the same images, each trained once or several times, and tell differences from chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagetrail.errors import DataError
from imagetrail.evaluate import replicates
from imagetrail.evaluate.answers import Answers
from imagetrail.evaluate.metrics import macro_f1

RESAMPLES = 2000
LEVEL = 0.95
"""Confidence level of the intervals; tests use one minus this as their significance level."""
FIGURES = ("accuracy", "loss", "macro_f1")


class Interval(NamedTuple):
    """A figure with a confidence interval of LEVEL.

    Of two trainings, an accuracy has Wilson's interval, the difference of two accuracies Tango's; loss and macro F1
    have percentiles of a bootstrap over the images. Where a side was trained several times, the intervals cover seeds
    and images: replicates.py for accuracy and loss, a bootstrap over both for macro F1.
    """

    value: float
    low: float
    high: float


Figures = dict[str, tuple[Interval, Interval, Interval]]
"""accuracy, loss and macro_f1 of the first, of the second, and the second minus the first."""


class Disagreement(NamedTuple):
    """An image that only one of two models classifies correctly; of several trainings, their majority."""

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
    """Images that all runs tested."""
    trainings: tuple[int, int]
    """Of the first and of the second model."""
    only_first: int
    """Images that only the first classifies correctly."""
    only_second: int
    p_value: float
    """Of the test of equal accuracy: McNemar's or, of several trainings, a t-test over seeds and images. Uncorrected,
    it is below 1 - LEVEL exactly where the interval of the difference excludes 0."""
    figures: Figures
    recalls: Mapping[str, tuple[float, float]]
    """Recall of each class: (first, second)."""
    disagreements: list[Disagreement]

    relabelled: int = 0
    """Images that all runs tested and that are left out, since their label changed in between."""
    comparisons: int = 1
    """Comparisons made at the same time, whose p-values were corrected for their number."""

    @property
    def is_worse(self) -> bool:
        """Return whether the second is significantly less accurate."""
        return self.figures["accuracy"][2].value < 0 and self.p_value < 1 - LEVEL

    def verdict(self) -> str:
        """Summarise the comparison in a sentence."""
        one, other = self.trainings
        test = "McNemar's test" if one == other == 1 else f"t-test over {one} and {other} trainings and the images"
        corrected = f", Holm's correction for {self.comparisons} comparisons" if self.comparisons > 1 else ""
        evidence = f"({test}{corrected}, p = {self.p_value:.2g})"
        if self.p_value >= 1 - LEVEL:
            return f"the difference in accuracy is not significant {evidence}"
        return f"the second is significantly {'less' if self.is_worse else 'more'} accurate {evidence}"


def compare_all(first: Sequence[Answers], others: Sequence[Sequence[Answers]]) -> list[Comparison]:
    """Compare a model with each of several others; their p-values are corrected for their number.

    Args:
        first: the model's answers, of one training or of several.
        others: the other models'.

    Raises:
        DataError: as `compare`.
    """
    found = [compare(first, other) for other in others]
    corrected = replicates.holm([comparison.p_value for comparison in found])
    return [replace(c, p_value=p, comparisons=len(found)) for c, p in zip(found, corrected, strict=True)]


def compare(first: Sequence[Answers], second: Sequence[Answers]) -> Comparison:
    """Compare two models on the images that all their trainings tested.

    Raises:
        DataError: they have no image of the same label in common.
    """
    every, relabelled = _common([*first, *second])
    first, second = every[: len(first)], every[len(first) :]
    one, other = replicates.majority(first), replicates.majority(second)
    only_first = int((one.correct & ~other.correct).sum())
    only_second = int((~one.correct & other.correct).sum())
    if len(every) > 2:
        p_value, figures = _of_several(first, second)
    else:
        p_value, figures = _of_pair(one, other, only_first, only_second)
    return Comparison(
        n=len(one.images),
        trainings=(len(first), len(second)),
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
        figures=figures,
        recalls=_recalls(first, second),
        disagreements=[
            Disagreement(
                image=one.images[row],
                label=one.classes[one.labels[row]],
                first=one.classes[one.predicted[row]],
                first_confidence=float(one.confidence[row]),
                second=other.classes[other.predicted[row]],
                second_confidence=float(other.confidence[row]),
            )
            for row in np.flatnonzero(one.correct != other.correct).tolist()
        ],
        relabelled=relabelled,
    )


def _common(every: Sequence[Answers]) -> tuple[list[Answers], int]:
    """Return the answers to the images that are in all of them with one label, and how many have several."""
    first = every[0]
    for other in every[1:]:
        if first.classes != other.classes:
            raise DataError(
                f"the first model knows the classes {', '.join(first.classes)} and the second "
                f"{', '.join(other.classes)}; compare models of the same classes."
            )
    shared = sorted(set.intersection(*(set(answers.images) for answers in every)))
    if not shared:
        raise DataError("the two models were tested on no image in common; evaluate them on the same data.")
    found = [_rows(answers, shared) for answers in every]
    same = np.logical_and.reduce([answers.labels == found[0].labels for answers in found])
    if not same.any():
        raise DataError(
            "every image had another label when the second model was tested; evaluate both on one data set."
        )
    agreed = [shared[row] for row in np.flatnonzero(same)]
    return [_rows(answers, agreed) for answers in found], len(shared) - len(agreed)


def _of_pair(first: Answers, second: Answers, only_first: int, only_second: int) -> tuple[float, Figures]:
    figures = {"accuracy": _accuracies(first, second, only_first, only_second)}
    figures |= {name: _intervals(first, second, function) for name, function in FUNCTIONS.items()}
    return mcnemar(only_first, only_second), figures


def _of_several(first: Sequence[Answers], second: Sequence[Answers]) -> tuple[float, Figures]:
    figures = {name: _over_both(_table(first, of), _table(second, of)) for name, of in MEANS.items()}
    figures["macro_f1"] = _resampled_both(first, second, FUNCTIONS["macro_f1"])
    return replicates.difference(_table(first, _correct), _table(second, _correct)).p_value(), figures


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
    "loss": lambda answers, rows: float(_loss(answers)[rows].mean()),
    "macro_f1": lambda answers, rows: macro_f1(answers.labels[rows], answers.predicted[rows], len(answers.classes)),
}


def _correct(answers: Answers) -> npt.NDArray[np.float64]:
    return answers.correct.astype(np.float64)


def _loss(answers: Answers) -> npt.NDArray[np.float64]:
    return -np.log(np.maximum(answers.truth, 1e-6))


MEANS: Mapping[str, Callable[[Answers], npt.NDArray[np.float64]]] = {"accuracy": _correct, "loss": _loss}
"""Figures that are means over the images: float64 [n]."""


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


def accuracy(answers: Sequence[Answers]) -> Interval:
    """Estimate the accuracy of a model that was trained once, or several times.

    Raises:
        DataError: the trainings were tested on no image in common.
    """
    shared, _ = _common(answers)
    if len(shared) == 1:
        return wilson(shared[0].correct)
    found = replicates.mean(_table(shared, _correct))
    return Interval(found.value, *found.interval(LEVEL))


def _accuracies(
    first: Answers, second: Answers, only_first: int, only_second: int
) -> tuple[Interval, Interval, Interval]:
    n = len(first.images)
    return wilson(first.correct), wilson(second.correct), paired_difference(n, only_first, only_second)


def wilson(correct: npt.NDArray[np.bool_]) -> Interval:
    """Estimate an accuracy from answers that are right or wrong, bool [n].

    Wilson's score interval (Journal of the American Statistical Association, 1927), as scipy's binomtest computes it,
    whose import takes a second of every evaluation.
    """
    n, share = len(correct), float(correct.mean())
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return Interval(share, max(0.0, low), min(1.0, high))


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


def _table(model: Sequence[Answers], values: Callable[[Answers], npt.NDArray[np.float64]]) -> replicates.Crossed:
    return np.stack([values(answers) for answers in model])


def _over_both(first: replicates.Crossed, second: replicates.Crossed) -> tuple[Interval, Interval, Interval]:
    """Return the intervals over seeds and images of two means and their difference."""
    estimates = replicates.mean(first), replicates.mean(second), replicates.difference(first, second)
    return tuple(Interval(e.value, *e.interval(LEVEL)) for e in estimates)  # type: ignore[return-value]


def _resampled_both(
    first: Sequence[Answers], second: Sequence[Answers], figure: Figure
) -> tuple[Interval, Interval, Interval]:
    """Resample images and trainings, for figures that are not means over images; too narrow for two or three seeds."""
    random = np.random.default_rng(0)
    n = len(first[0].images)

    def drawn(model: Sequence[Answers], rows: npt.NDArray[np.intp], seeds: npt.NDArray[np.intp]) -> float:
        return float(np.mean([figure(model[seed], rows) for seed in seeds]))

    def both(rows: npt.NDArray[np.intp], one: npt.NDArray[np.intp], other: npt.NDArray[np.intp]) -> tuple[float, ...]:
        values = drawn(first, rows, one), drawn(second, rows, other)
        return (*values, values[1] - values[0])

    whole = both(np.arange(n), np.arange(len(first)), np.arange(len(second)))
    samples = [
        both(random.integers(0, n, n), *(random.integers(0, len(model), len(model)) for model in (first, second)))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(samples, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0).tolist()
    return tuple(Interval(*ends) for ends in zip(whole, low, high, strict=True))  # type: ignore[return-value]


def _recalls(first: Sequence[Answers], second: Sequence[Answers]) -> dict[str, tuple[float, float]]:
    """Return the recalls of each class, over all trainings."""
    one, other = (_table(model, _correct) for model in (first, second))
    labels = first[0].labels
    return {
        name: (float(one[:, rows].mean()), float(other[:, rows].mean()))
        for code, name in enumerate(first[0].classes)
        if len(rows := np.flatnonzero(labels == code))
    }
