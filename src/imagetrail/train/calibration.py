"""Temperature scaling: one number by which logits are divided, so that confidences are right on average.

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, 2017, section 4.2. It changes no answer, only
how sure the model is of it.
"""

import math

from torch import Tensor

LARGEST = 20.0
"""The temperature is from 1 / LARGEST to LARGEST."""
STEPS = 60
"""Halvings of that range, after which a float64 has no bits left."""
ENOUGH_ROWS = 20_000
"""Rows that one number can need; of more, evenly spread ones are taken."""


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
