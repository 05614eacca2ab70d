"""Trainings of the same parameters under several seeds: what a figure owes to the seed, and what to the images.

A figure of each training on each image is a table of two crossed random effects: another seed would have given other
weights, and other test images other answers. The variance of a mean over the table has a part for each (Searle, Casella
and McCulloch, Variance Components, 1992, chapter 4), and the degrees of freedom of their sum are Satterthwaite's
(Biometrics Bulletin, 1946).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imagetrail.evaluate.answers import Answers

Crossed = npt.NDArray[np.float64]
"""float64 [s,n]: a figure of each of s trainings on each of n images."""


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two, over trainings and images."""

    value: float
    error: float
    """Its standard error."""
    freedom: float
    """Degrees of freedom of the error."""

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends of the confidence interval."""
        from scipy.special import stdtrit

        reach = float(stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.value - reach, self.value + reach

    def p_value(self) -> float:
        """Return the two-sided p-value of the hypothesis that the true value is 0."""
        from scipy.special import stdtr

        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))


def mean(table: Crossed) -> Estimate:
    """Estimate the mean over trainings and images; of a single training, over the images alone."""
    return _estimate(table.mean(axis=0), [table])


def difference(first: Crossed, second: Crossed) -> Estimate:
    """Estimate the second mean minus the first, on the same images.

    A side with a single training is taken to vary with the seed as the other does.
    """
    return _estimate(second.mean(axis=0) - first.mean(axis=0), [first, second])


def _estimate(images: Crossed, tables: Sequence[Crossed]) -> Estimate:
    """Add the variances of the mean over the images [n], and of each table's mean over its trainings.

    What a training owes to the chance of its images is in both parts. Taking it out of one would leave an interval that
    covers less than it states, since the difference of two estimates is often 0 where there are three trainings.
    """
    parts = [(_variance(images) / len(images), len(images) - 1)]
    replicated = [table for table in tables if len(table) > 1]
    for table in replicated:
        share = 1 / len(table) + (len(tables) - len(replicated))  # and the single training on the other side
        parts.append((_variance(table.mean(axis=1)) * share, len(table) - 1))
    total = sum(part for part, _ in parts)
    spent = sum(part**2 / freedom for part, freedom in parts if freedom)
    return Estimate(float(images.mean()), total**0.5, total**2 / spent if spent else float("inf"))


def _variance(values: Crossed) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def majority(answers: Sequence[Answers]) -> Answers:
    """Return the answer that most trainings give to each image, the most confident one where they tie.

    Args:
        answers: of the same images in the same order.
    """
    if len(answers) == 1:
        return answers[0]
    predicted, confidence = (np.stack([getattr(a, name) for a in answers]) for name in ("predicted", "confidence"))
    votes = sum((predicted == other).astype(np.float64) for other in predicted)
    chosen = (votes + confidence / 2).argmax(axis=0)
    rows = np.arange(len(chosen))
    agreeing = predicted == predicted[chosen, rows]
    return replace(
        answers[0],
        predicted=predicted[chosen, rows],
        confidence=(confidence * agreeing).sum(axis=0) / agreeing.sum(axis=0),
        truth=np.stack([a.truth for a in answers]).mean(axis=0),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that all verdicts together keep the level (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    raised = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return [float(value) for value in corrected]
