"""Comparison against figures worked out by hand, and the gate as a table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from imagetrail.errors import DataError
from imagetrail.evaluate import gate
from imagetrail.evaluate.answers import Answers
from imagetrail.evaluate.paired import LEVEL, Comparison, compare, compare_all, mcnemar, paired_difference, wilson
from imagetrail.params.evaluate import Gate


def answers(right: str, names: list[str] | None = None) -> Answers:
    """Answers to images of the classes a and b in turn; `1` is right."""
    labels = np.arange(len(right)) % 2
    correct = np.array([mark == "1" for mark in right])
    return Answers(
        images=names or [f"{number:03d}.png" for number in range(len(right))],
        classes=["a", "b"],
        labels=labels,
        predicted=np.where(correct, labels, 1 - labels),
        confidence=np.full(len(right), 0.9),
        truth=np.where(correct, 0.9, 0.1),
    )


def pair(first: Answers, second: Answers) -> Comparison:
    return compare([first], [second])


def test_figures_match_a_calculation_by_hand() -> None:
    found = pair(answers("1" * 8 + "0" * 2), answers("1" * 5 + "0" * 4 + "1"))
    assert (found.n, found.only_first, found.only_second) == (10, 3, 1)
    assert found.p_value == pytest.approx(2 * norm.sf(1))  # (3 - 1) / sqrt(3 + 1)
    assert not found.is_worse
    first, second, difference = found.figures["accuracy"]
    assert (first.value, second.value) == (0.8, 0.6)
    assert difference.value == pytest.approx(-0.2)
    assert difference.low < -0.2 < difference.high
    assert found.recalls == {"a": (0.8, 0.6), "b": (0.8, 0.6)}
    assert [d.image for d in found.disagreements] == ["005.png", "006.png", "007.png", "009.png"]
    assert (found.disagreements[0].label, found.disagreements[0].first, found.disagreements[0].second) == (
        "b",
        "b",
        "a",
    )
    assert "not significant" in found.verdict()


def test_losing_many_images_is_worse_and_winning_is_not() -> None:
    good, bad = answers("1" * 40), answers("1" * 30 + "0" * 10)
    assert pair(good, bad).is_worse
    assert pair(good, bad).p_value == pytest.approx(2 * norm.sf(10**0.5))
    assert not pair(bad, good).is_worse
    assert "significantly more accurate" in pair(bad, good).verdict()
    assert pair(good, good).p_value == 1


@given(st.integers(1, 3000), st.data())
def test_interval_of_the_difference_agrees_with_the_test(n: int, data: st.DataObject) -> None:
    only_first = data.draw(st.integers(0, min(n, 60)))
    only_second = data.draw(st.integers(0, min(n - only_first, 60)))
    found, p = paired_difference(n, only_first, only_second), mcnemar(only_first, only_second)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    excludes_0 = found.low > 0 or found.high < 0
    assert excludes_0 == (p < 1 - LEVEL), (found, p)
    mirrored = paired_difference(n, only_second, only_first)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_interval_of_the_difference_is_tangos() -> None:
    """The example of Fagerland, Lydersen and Laake (Statistics in Medicine, 2014, section 2): 1, 1, 7, 12 of 21."""
    found = paired_difference(21, 7, 1)
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert paired_difference(100, 0, 0).high == pytest.approx(3.8415 / 103.8415, abs=1e-5), "no image differs"


def test_intervals_have_the_stated_coverage() -> None:
    """2,000 samples of 300 images: accuracies of 0.8 and 0.75 that agree more than independent ones would."""
    random = np.random.default_rng(0)
    shares = [0.72, 0.08, 0.03, 0.17]  # both, only the first, only the second, neither
    held = 0
    for _ in range(2000):
        _, only_first, only_second, _ = random.multinomial(300, shares)
        found = paired_difference(300, only_first, only_second)
        held += found.low <= -0.05 <= found.high
    assert 0.94 <= held / 2000 <= 0.965
    held = 0
    for _ in range(2000):
        found = wilson(random.random(200) < 0.8)
        held += found.low <= 0.8 <= found.high
    assert 0.94 <= held / 2000 <= 0.965


@given(n=st.integers(1, 500), data=st.data())
def test_the_interval_of_an_accuracy_is_scipys(n: int, data: st.DataObject) -> None:
    from scipy.stats import binomtest

    right = data.draw(st.integers(0, n))
    found = wilson(np.arange(n) < right)
    expected = binomtest(right, n).proportion_ci(LEVEL, method="wilson")
    assert found == pytest.approx((right / n, expected.low, expected.high), abs=1e-12)


def test_images_that_were_relabelled_in_between_are_left_out() -> None:
    before = answers("1100")
    after = Answers(
        before.images, before.classes, np.where([True, False, False, False], 1 - before.labels, before.labels),
        before.predicted, before.confidence, before.truth,
    )  # fmt: skip
    found = pair(before, after)
    assert (found.n, found.relabelled) == (3, 1)
    assert found.figures["accuracy"][0].value == found.figures["accuracy"][1].value == pytest.approx(1 / 3)


def test_only_common_images_are_compared() -> None:
    first = answers("1100", ["a", "b", "c", "d"])
    second = answers("0011", ["b", "c", "d", "e"])
    with pytest.raises(DataError, match="every image had another label"):
        pair(first, second)
    second = Answers(
        second.images, second.classes, 1 - second.labels, 1 - second.predicted, second.confidence, second.truth
    )
    assert pair(first, second).n == 3
    with pytest.raises(DataError, match="no image in common"):
        pair(first, answers("1", ["z"]))
    other = Answers(first.images, ["a", "c"], first.labels, first.predicted, first.confidence, first.truth)
    with pytest.raises(DataError, match="the first model knows the classes a, b and the second a, c"):
        pair(first, other)


METRICS = {
    "accuracy": 0.95, "ece": 0.04, "per_class": {
        "cat": {"recall": 0.9, "n": 50}, "dog": {"recall": 1.0, "n": 50}, "none": {"recall": 0.0, "n": 0},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"accuracy": 0.95}, None),
        ({"accuracy": 0.951}, "accuracy 0.9500 is below 0.951"),
        ({"recall": 0.9}, None),
        ({"recall": 0.95}, "recall 0.9000 of 'cat' is below 0.95"),
        ({"ece": 0.04}, None),
        ({"ece": 0.03}, "calibration error 0.0400 is above 0.03"),
        ({}, None),
    ],
)
def test_the_gate_reports_each_missed_limit(asked: dict, problem: str | None) -> None:
    whole = Gate(**(dict.fromkeys(Gate.model_fields) | asked))
    assert gate.problems(METRICS, whole, None) == ([] if problem is None else [problem])


def test_the_gate_compares_with_a_baseline() -> None:
    asked = Gate(**dict.fromkeys(Gate.model_fields))
    good, bad, fair = answers("1" * 40), answers("1" * 30 + "0" * 10), answers("1" * 37 + "000")
    (problem,) = gate.problems(METRICS, asked, pair(good, bad))
    assert "accuracy 0.7500 is less than the baseline's 1.0000 on the same 40 images" in problem
    assert gate.problems(METRICS, asked, pair(good, fair)) == [], "three of three is not significant"
    assert gate.problems(METRICS, asked, pair(bad, good)) == []


def test_a_gate_of_many_classes_names_the_worst_few() -> None:
    """1,200 classes gave a line of 63 kB."""
    classes = {f"class {number}": {"recall": number / 2000, "n": 3} for number in range(1200)}
    asked = Gate(**(dict.fromkeys(Gate.model_fields) | {"recall": 0.9}))
    found = gate.problems(METRICS | {"per_class": classes}, asked, None)
    assert len(found) == 6
    assert found[0] == "recall 0.0000 of 'class 0' is below 0.9"
    assert found[-1] == "so is that of 1195 more classes"


def test_several_trainings_are_compared_over_seeds_and_images() -> None:
    random = np.random.default_rng(0)

    def model(level: float, trainings: int) -> list[Answers]:
        return [answers("".join("01"[int(value < level)] for value in random.random(400))) for _ in range(trainings)]

    worse, better = model(0.7, 4), model(0.9, 3)
    found = compare(worse, better)
    assert found.trainings == (4, 3)
    accuracy, other, difference = found.figures["accuracy"]
    assert accuracy.value == pytest.approx(np.mean([one.correct.mean() for one in worse]))
    assert difference.value == pytest.approx(other.value - accuracy.value)
    assert difference.low > 0 and found.p_value < 0.05 and not found.is_worse
    assert "t-test over 4 and 3 trainings and the images" in found.verdict()
    assert set(found.figures) == {"accuracy", "loss", "macro_f1"}
    assert all(i.low <= i.value <= i.high for three in found.figures.values() for i in three)
    assert compare(better, worse).is_worse
    same = compare(worse, worse)
    assert (same.p_value, same.only_first, same.disagreements) == (1, 0, [])


def test_more_comparisons_ask_for_more_evidence() -> None:
    plain, better = answers("1" * 30 + "0" * 20), answers("1" * 36 + "0" * 14)
    (alone,) = compare_all([plain], [[better]])
    one, two, three = compare_all([plain], [[better], [plain], [plain]])
    assert alone.p_value == pytest.approx(2 * norm.sf(6**0.5))
    assert (one.p_value, two.p_value, three.p_value) == (pytest.approx(3 * alone.p_value), 1, 1)
    assert "Holm's correction for 3 comparisons" in one.verdict()
    assert "Holm" not in alone.verdict()
