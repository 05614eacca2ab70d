"""Intervals over seeds and images: against hand calculations, and by simulation, as their level is a promise."""

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from imagetrail.evaluate import replicates
from imagetrail.evaluate.answers import Answers

SIMULATIONS, IMAGES = 600, 250


def test_a_single_training_varies_with_the_images_alone() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 50)
    found, expected = replicates.mean(values[None]), ttest_1samp(values, 0)
    assert (found.value, found.freedom) == (pytest.approx(values.mean()), pytest.approx(49))
    assert found.p_value() == pytest.approx(expected.pvalue)
    assert found.interval(0.95) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_trainings_that_differ_by_a_constant_vary_with_the_seed_alone() -> None:
    values = np.array([0.1, 0.2, 0.4])
    found, expected = replicates.mean(np.repeat(values[:, None], 1000, axis=1)), ttest_1samp(values, 0)
    assert found.freedom == pytest.approx(2)
    assert found.interval(0.95) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_equal_trainings_do_not_differ() -> None:
    table = np.random.default_rng(0).random((3, 40))
    found = replicates.difference(table, table)
    assert (found.value, found.p_value()) == (0, 1)
    same = np.ones((2, 10))
    assert replicates.difference(same, same).p_value() == 1


def correct(random: np.random.Generator, trainings: int, images: np.ndarray, level: float) -> np.ndarray:
    """Whether each training is right: images differ, seeds differ, and each seed likes other images."""
    noise = random.normal(0, 0.7, (trainings, len(images)))
    return (level + images + random.normal(0, SEED, (trainings, 1)) + noise > 0).astype(float)


SEED = 0.15
"""Standard deviation of a training's level: a probability of 0.8 then varies by 0.02, which is much."""


def truth(level: float) -> float:
    """The mean of `correct` over all images and seeds."""
    return float(norm.cdf(level / np.sqrt(1 + SEED**2 + 0.7**2)))


@pytest.mark.parametrize("trainings", [(3, 3), (5, 5), (2, 5), (1, 5)])
def test_intervals_over_seeds_and_images_have_the_stated_coverage(trainings: tuple[int, int]) -> None:
    random, held, narrow = np.random.default_rng(1), 0, 0
    wanted = truth(1.2) - truth(1.0)
    for _ in range(SIMULATIONS):
        images = random.normal(0, 1, IMAGES)
        first, second = (correct(random, n, images, level) for n, level in zip(trainings, (1.0, 1.2), strict=True))
        low, high = replicates.difference(first, second).interval(0.95)
        held += low <= wanted <= high
        alone = replicates.difference(first[:1], second[:1])
        low, high = alone.value - 1.96 * alone.error, alone.value + 1.96 * alone.error
        narrow += low <= wanted <= high
    assert 0.92 <= held / SIMULATIONS <= 0.99
    assert narrow / SIMULATIONS < 0.92, "an interval over the images alone misses what the seed does"


def test_a_single_mean_has_the_stated_coverage() -> None:
    random, held = np.random.default_rng(2), 0
    for _ in range(SIMULATIONS):
        low, high = replicates.mean(correct(random, 5, random.normal(0, 1, IMAGES), 1.0)).interval(0.95)
        held += low <= truth(1.0) <= high
    assert 0.92 <= held / SIMULATIONS <= 0.99


def test_holms_correction() -> None:
    assert replicates.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert replicates.holm([0.9, 0.8]) == [1, 1]
    assert replicates.holm([0.2]) == [0.2]
    assert replicates.holm([]) == []


def test_the_majority_answers_and_confidence_breaks_ties() -> None:
    def one(predicted: list[int], confidence: list[float]) -> Answers:
        labels = np.zeros(2, np.int64)
        return Answers(["1", "2"], ["a", "b", "c"], labels, np.array(predicted), np.array(confidence), np.ones(2) / 2)

    found = replicates.majority([one([0, 1], [0.5, 0.6]), one([1, 2], [0.99, 0.8]), one([0, 0], [0.7, 0.4])])
    assert found.predicted.tolist() == [0, 2]
    assert found.confidence == pytest.approx([0.6, 0.8])
