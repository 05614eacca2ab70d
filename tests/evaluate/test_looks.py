"""Luck, against the expected maximum of independent normals, and its limits."""

import numpy as np
import pytest

from imagetrail.evaluate import looks


@pytest.mark.parametrize(("models", "expected"), [(2, 0.564), (10, 1.539), (100, 2.508)])
def test_luck_is_the_expected_maximum(models: int, expected: float) -> None:
    """Expected maxima of standard normals (Tippett, Biometrika, 1925, table 1), in units of a model's own deviation."""
    n, disagreement = 10_000, 0.08
    deviation = np.sqrt(disagreement / 2 / n)
    assert looks.luck(models, n, disagreement) / deviation == pytest.approx(expected, abs=0.06)


def test_no_luck_without_chance() -> None:
    assert looks.luck(50, 1000, 0.0) == 0
    assert abs(looks.luck(1, 1000, 0.1)) < 0.001


def test_independent_mistakes() -> None:
    random = np.random.default_rng(0)
    one, other = random.random((2, 100_000)) < 0.9
    assert looks.independent(0.9) == pytest.approx((one != other).mean(), abs=0.003)


def test_the_sentence_counts() -> None:
    assert looks.sentence(1, 100, 0.1) == "These test images have judged one model."
    assert "have judged 1,200 models; the best of as many equally good ones would look 0.0" in looks.sentence(
        1200, 1000, 0.1
    )
