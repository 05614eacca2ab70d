"""What validation rows say about the model's confidence: a temperature, and thresholds for sets of labels.

Temperature scaling divides logits by one number, so that confidences are right on average (Guo, Pleiss, Sun and
Weinberger, On Calibration of Modern Neural Networks, 2017, section 4.2). It changes no answer, only how sure the model
is of it. Split conformal prediction takes all labels above a threshold that the truth exceeded often enough (Sadinle,
Lei and Wasserman, Least Ambiguous Set-Valued Classifiers, 2019); for new images like these, such a set holds the truth
at least as often, whatever the model. The likeliest label is always in it.
"""

import math

from torch import Tensor

from imagetrail.model.classifier import COVERAGES

LARGEST = 20.0
"""The temperature is from 1 / LARGEST to LARGEST."""
STEPS = 60
"""Halvings of that range, after which a float64 has no bits left."""
ENOUGH_ROWS = 20_000
"""Rows that these numbers can need; of more, evenly spread ones are taken."""


def temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature with the least negative log-likelihood.

    In 1 / temperature that is convex, and its slope is the mean of what the model expects of the logits, minus that of
    the true classes' logits.

    Args:
        logits: float32 [n,K], of rows that did not train.
        labels: int64 [n].
    """
    wide = logits.double().cpu()
    true = wide.gather(1, labels.cpu()[:, None]).mean()
    low, high = 1 / LARGEST, LARGEST  # of 1 / temperature
    for _ in range(STEPS):
        middle = math.sqrt(low * high)  # which is exact everywhere, unlike a power
        expected = ((wide * middle).softmax(dim=1) * wide).sum(dim=1).mean()
        low, high = (low, middle) if expected > true else (middle, high)
    return 1 / math.sqrt(low * high)


def thresholds(logits: Tensor, labels: Tensor) -> list[float]:
    """Find the thresholds of COVERAGES: the least probability of a label in the set.

    Of n rows, the set for a coverage c holds what is as probable as the truth was in the ceil(c (n + 1)) surest rows;
    where that is more than n, it holds every label.

    Args:
        logits: float32 [n,K], divided by the temperature.
        labels: int64 [n].
    """
    shares = logits.double().cpu().softmax(dim=1).gather(1, labels.cpu()[:, None])[:, 0]
    surest = shares.sort(descending=True).values.tolist()
    ranks = (-(-percent * (len(surest) + 1) // 100) for percent in COVERAGES)
    return [_floor(surest[rank - 1]) if rank <= len(surest) else 0.0 for rank in ranks]


def _floor(value: float) -> float:
    """Round down to what float32 arithmetic of another batch leaves as it is."""
    return math.floor(value * 1e6) / 1e6
