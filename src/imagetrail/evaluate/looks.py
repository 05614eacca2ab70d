"""How often the same test rows have judged models, and what the best of that many owes to luck.

Whoever tries many models and reports the best on the test rows reports some luck with it. Two equally good models
disagree on images that either may have right: as many coins are tossed for each model, and the best of them counted.
"""

import numpy as np

SIMULATIONS = 2000


def luck(looks: int, n: int, disagreement: float) -> float:
    """Simulate by how much the best of equally good models exceeds their true accuracy, by chance alone.

    Args:
        looks: models that were tested.
        n: test images.
        disagreement: share of the images that only one of two models has right.
    """
    undecided = round(2 * disagreement * n)
    random = np.random.default_rng(0)
    best = np.zeros(SIMULATIONS)
    for _ in range(looks):  # one model after the other, since there may be thousands
        best = np.maximum(best, random.binomial(undecided, 0.5, SIMULATIONS))
    return float(best.mean() - undecided / 2) / n


def independent(accuracy: float) -> float:
    """Return the share of images on which two models of an accuracy disagree if their mistakes are independent."""
    return 2 * accuracy * (1 - accuracy)


def sentence(looks: int, n: int, disagreement: float) -> str:
    """State both."""
    if looks == 1:
        return "These test images have judged one model."
    return (
        f"These test images have judged {looks:,} models; the best of as many equally good ones would look "
        f"{luck(looks, n, disagreement):.4f} better than it is by luck."
    )
