"""Comparison against figures worked out by hand, and the gate as a table."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from imagetrail import artifacts, comparison, gate
from imagetrail.comparison import Answers, compare
from imagetrail.errors import ArtifactError, DataError
from imagetrail.params import Gate


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


def test_figures_by_hand() -> None:
    found = compare(answers("1" * 8 + "0" * 2), answers("1" * 5 + "0" * 4 + "1"))
    assert (found.n, found.only_first, found.only_second) == (10, 3, 1)
    # 4 images differ: 3 or more of 4 on either side happens by chance in 2 * (4 + 1) / 16 of cases
    assert found.p_value == pytest.approx(10 / 16)
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
    assert "may be chance" in found.verdict()


def test_a_model_that_loses_many_is_worse_and_not_the_other_way_round() -> None:
    good, bad = answers("1" * 40), answers("1" * 30 + "0" * 10)
    assert compare(good, bad).is_worse
    assert compare(good, bad).p_value == pytest.approx(2 / 2**10)
    assert not compare(bad, good).is_worse
    assert "better than chance explains" in compare(bad, good).verdict()
    assert compare(good, good).p_value == 1


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """100 samples of a model of 80 %: the interval of 95 % misses it in about 5."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        marks = "".join(random.choice(["1", "0"], p=[0.8, 0.2], size=200))
        correct = answers(marks).correct
        interval = comparison._interval(np.arange(200), lambda rows, correct=correct: float(correct[rows].mean()))
        held += interval.low <= 0.8 <= interval.high
    assert 89 <= held <= 99


def test_macro_f1_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 5, (2, 60))
    expected = f1_score(labels, predicted, labels=range(7), average="macro", zero_division=0.0)
    assert comparison._macro_f1(labels, predicted, 7) == pytest.approx(expected)


def test_only_common_images_are_compared() -> None:
    first = answers("1100", ["a", "b", "c", "d"])
    second = answers("0011", ["b", "c", "d", "e"])
    with pytest.raises(DataError, match="'b' had another label"):
        compare(first, second)
    second = Answers(
        second.images, second.classes, 1 - second.labels, 1 - second.predicted, second.confidence, second.truth
    )
    assert compare(first, second).n == 3
    with pytest.raises(DataError, match="no image in common"):
        compare(first, answers("1", ["z"]))
    other = Answers(first.images, ["a", "c"], first.labels, first.predicted, first.confidence, first.truth)
    with pytest.raises(DataError, match="the first model knows the classes a, b and the second a, c"):
        compare(first, other)


def test_a_table_is_read_sorted_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    header = ["image", "label", "predicted", "confidence", "p(cat)", "p(a, b)"]
    rows = [["2.png", "cat", "cat", "0.8", "0.8", "0.2"], ["1.png", "a, b", "cat", "0.6", "0.6", "0.4"]]
    artifacts.write_rows(tmp_path / "predictions.csv", header, rows)
    found = comparison.read(tmp_path / "predictions.csv")
    assert (found.images, found.classes) == (["1.png", "2.png"], ["cat", "a, b"])
    assert found.labels.tolist() == [1, 0]
    assert found.truth.tolist() == [0.4, 0.8]
    (tmp_path / "predictions.csv").write_text("image,label\n1.png,cat\n")
    with pytest.raises(ArtifactError, match="cannot be read"):
        comparison.read(tmp_path / "predictions.csv")


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
def test_the_gate(asked: dict, problem: str | None) -> None:
    whole = Gate(**(dict.fromkeys(Gate.model_fields) | asked))
    assert gate.problems(METRICS, whole, None) == ([] if problem is None else [problem])


def test_the_gate_against_a_baseline() -> None:
    asked = Gate(**dict.fromkeys(Gate.model_fields))
    good, bad, fair = answers("1" * 40), answers("1" * 30 + "0" * 10), answers("1" * 37 + "000")
    (problem,) = gate.problems(METRICS, asked, compare(good, bad))
    assert "accuracy 0.7500 is less than the baseline's 1.0000 on the same 40 images" in problem
    assert gate.problems(METRICS, asked, compare(good, fair)) == [], "three of three may be chance"
    assert gate.problems(METRICS, asked, compare(bad, good)) == []
