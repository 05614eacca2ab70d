"""Figures against values worked out by hand, and independence of the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import CARD, PREDICTIONS, make_subset
from sklearn.metrics import f1_score, precision_recall_fscore_support
from support import REPOSITORY

from imagetrail.errors import ArtifactError
from imagetrail.evaluate import inference
from imagetrail.evaluate.metrics import calibration_error, macro_f1, measure, per_class
from imagetrail.model.classifier import Classifier
from imagetrail.params.load import load_params


def test_figures_match_a_calculation_by_hand() -> None:
    metrics = measure(PREDICTIONS, calibration_bins=10)
    assert metrics["accuracy"] == 0.5
    assert metrics["n"] == 4
    assert metrics["loss"] == pytest.approx(-np.log([0.9, 0.2, 0.75, 0.4]).mean())
    assert metrics["macro_f1"] == pytest.approx((0.5 + 0.5) / 2), "nothing is of class c, and no answer is c"
    assert metrics["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "n": 2}
    assert metrics["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0}
    # Bins (.5,.6], (.7,.8] twice, (.8,.9]: gaps .6, (.8 + .75 - 1), .1 over four rows.
    assert metrics["ece"] == pytest.approx((0.6 + 0.55 + 0.1) / 4)


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_per_class_figures_equal_scikit_learns_bit_for_bit(extra: int, pairs: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(pairs, np.int64).T
    classes = 5 + extra
    expected = precision_recall_fscore_support(labels, predicted, labels=range(classes), zero_division=0.0)
    for ours, theirs in zip(per_class(labels, predicted, classes), expected, strict=True):
        assert np.array_equal(ours, theirs)
    assert macro_f1(labels, predicted, classes) == f1_score(labels, predicted, average="macro", zero_division=0.0)


def test_accuracy_counts_right_answers() -> None:
    three_of_four = replace(PREDICTIONS, labels=np.array([0, 1, 1, 1]))
    assert measure(three_of_four, calibration_bins=10)["accuracy"] == 0.75


def test_calibration_bins_have_exact_edges() -> None:
    """Gaps of opposite sign cancel in one bin and add up in two."""
    correct = np.array([False, True])
    assert calibration_error(np.array([0.05, 0.15]), correct, 10) == pytest.approx((0.05 + 0.85) / 2)
    assert calibration_error(np.array([0.95, 0.85]), correct, 10) == pytest.approx((0.95 + 0.15) / 2)
    assert calibration_error(np.array([0.1, 0.2]), correct, 10) == pytest.approx((0.1 + 0.8) / 2), "closed on the right"
    assert calibration_error(np.array([0.91, 1.0]), correct, 10) == pytest.approx(0.91 / 2), "1 is in the last"


def test_calibration_error_of_perfect_and_overconfident_models() -> None:
    sure = np.ones(10)
    assert calibration_error(sure, np.ones(10, bool), 15) == 0
    assert calibration_error(sure, np.zeros(10, bool), 15) == 1
    assert calibration_error(np.full(10, 0.7), np.arange(10) < 7, 15) == pytest.approx(0)


def test_mistakes_are_sorted_by_confidence() -> None:
    assert PREDICTIONS.mistakes().tolist() == [1, 3]


def test_answers_do_not_depend_on_the_batch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 9, 7), dtype=np.uint8)
    subset = make_subset(images, [0] * 50, list(range(3, 40)), CARD.classes)
    model = Classifier(CARD).eval()
    options = load_params(REPOSITORY).evaluate
    found: list[np.ndarray] = []
    for size in (50, 1):
        batches: list[np.ndarray] = []
        kept = inference.predict(model, subset, options.model_copy(update={"batch_size": size}), batches.append)
        found.append(np.concatenate(batches))
        assert (kept.predicted == found[-1].argmax(axis=1)).all()
        assert (kept.confidence == found[-1].max(axis=1)).all()
        assert (kept.truth == found[-1][:, 0]).all()
    whole, single = found
    assert np.allclose(whole, single, atol=1e-6)
    assert np.allclose(whole.sum(axis=1), 1)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images[3:40])).softmax(1).numpy()
    assert np.allclose(whole, expected, atol=1e-6)


def test_answers_that_are_not_numbers_are_an_error() -> None:
    images = np.zeros((4, 3, 9, 7), np.uint8)
    model = Classifier(CARD).eval()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    subset = make_subset(images, [0] * 4, list(range(4)), CARD.classes)
    with pytest.raises(ArtifactError, match="the model's answers are not numbers"):
        inference.predict(model, subset, load_params(REPOSITORY).evaluate)
