"""The temperature against a minimum found by other means, and what it does to a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import CARD, make_subset, options
from scipy.optimize import minimize_scalar
from support import REPOSITORY
from torch.nn import functional

from imagetrail.errors import ArtifactError
from imagetrail.evaluate import inference, metrics
from imagetrail.files.arrays import Subset
from imagetrail.model.classifier import COVERAGES, Classifier
from imagetrail.params.load import load_params
from imagetrail.params.model import Model
from imagetrail.train import calibration, loop, normalisation
from imagetrail.train.checkpoints import Checkpoints


def too_sure(factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `factor` times those which the labels were drawn by."""
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(5000, 4, generator=generator) * 2
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator)[:, 0]
    return honest * factor, labels


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_likeliest(factor: float) -> None:
    logits, labels = too_sure(factor)
    found = calibration.temperature(logits, labels)
    best = minimize_scalar(
        lambda t: float(functional.cross_entropy(logits.double() / t, labels)), bounds=(0.05, 20), method="bounded"
    )
    assert found == pytest.approx(best.x, rel=1e-3)
    assert found == pytest.approx(factor, rel=0.05)


def test_perfect_answers_get_the_coldest_temperature() -> None:
    logits = torch.eye(3) * 5
    assert calibration.temperature(logits, torch.arange(3)) == pytest.approx(1 / calibration.LARGEST)


@pytest.fixture
def noisy() -> tuple[Subset, Subset]:
    """Two classes that cannot be told apart for certain: a fifth of the labels is wrong, so a network is too sure."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (400, 1, 8, 8), dtype=np.uint8)
    labels = (images.mean(axis=(1, 2, 3)) > 127).astype(int) ^ (random.random(400) < 0.2)
    return tuple(make_subset(images, labels.tolist(), list(rows), ["a", "b"]) for rows in (range(120), range(120, 400)))


def test_a_calibrated_model_answers_the_same_and_less_surely(noisy: tuple[Subset, Subset], tmp_path: Path) -> None:
    train, val = noisy
    model = {"name": "SmallCNN", "weights": None, "widths": [16, 16], "dropout": 0.0}
    card = normalisation.new_card(Model.model_validate(model), None, None, train)
    task = loop.Task(card, None, train, val, tmp_path)

    def fit(**changes: object) -> Classifier:
        trained = loop.fit(task, options(epochs=20, **changes), Checkpoints(tmp_path / str(changes)), lambda e, s: None)
        return trained.classifier

    plain, calibrated = fit(), fit(calibration="temperature")
    assert plain.card.temperature == 1
    assert calibrated.card.temperature > 1.2
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), calibrated.parameters(), strict=True))
    settings = load_params(REPOSITORY).evaluate
    before, after = (inference.predict(m, val, settings) for m in (plain, calibrated))
    assert (before.predicted == after.predicted).all()
    assert after.uncalibrated == pytest.approx(before.confidence, abs=1e-6)
    assert before.uncalibrated is not before.confidence and (before.uncalibrated == before.confidence).all()
    one, other = (metrics.measure(predictions, 15) for predictions in (before, after))
    assert one["ece"] == one["ece_uncalibrated"] == pytest.approx(other["ece_uncalibrated"], abs=1e-6)
    assert other["loss"] < one["loss"]


@pytest.mark.parametrize("rows", [200, 2000])
def test_sets_hold_the_truth_as_often_as_they_promise(rows: int) -> None:
    """Over many draws of validation and new rows, also for a model that is too sure."""
    held: dict[int, list[float]] = {50: [], 80: [], 95: [], 99: []}
    logits, labels = too_sure(1.5)
    shares = logits.double().softmax(dim=1)
    truth = shares.gather(1, labels[:, None])[:, 0].numpy()
    for seed in range(100):
        order = np.random.default_rng(seed).permutation(len(truth))
        found = calibration.thresholds(logits[order[:rows]], labels[order[:rows]])
        for percent, share in held.items():
            share.append((truth[order[rows:]] >= found[COVERAGES.index(percent)]).mean())
    for percent, share in held.items():
        wanted = percent / 100
        chance = 4 * np.sqrt(wanted * (1 - wanted) * (1 / rows + 1 / (len(truth) - rows)) / len(share))
        assert wanted - chance <= np.mean(share) <= wanted + 1 / rows + chance, "no less, and hardly more"


def test_few_rows_promise_much_only_with_every_label() -> None:
    found = calibration.thresholds(torch.eye(3).repeat(6, 1), torch.arange(3).repeat(6))
    assert len(found) == len(COVERAGES)
    assert found[COVERAGES.index(94)] > 0
    assert found[COVERAGES.index(95)] == 0, "18 rows: the 19th of 18 is not there"


@pytest.mark.parametrize("coverage", [0.499, 1.0, 0.955, -1.0, float("nan")])
def test_a_coverage_without_threshold_is_one_sentence(coverage: float) -> None:
    with pytest.raises(ArtifactError, match=r"is not one of 0\.50, 0\.51 … 0\.99"):
        replace(CARD, thresholds=[0.1] * len(COVERAGES)).threshold(coverage)


def test_a_model_without_validation_rows_has_no_thresholds(noisy: tuple[Subset, Subset], tmp_path: Path) -> None:
    train, val = noisy
    model = {"name": "SmallCNN", "weights": None, "widths": [4], "dropout": 0.0}
    card = normalisation.new_card(Model.model_validate(model), None, None, train)
    task = loop.Task(card, None, train, replace(val, rows=val.rows[:0]), tmp_path)
    trained = loop.fit(task, options(epochs=1, keep="last"), Checkpoints(tmp_path), lambda e, s: None)
    with pytest.raises(ArtifactError, match=r"trained without validation rows, which coverage needs"):
        trained.classifier.card.threshold(0.95)


def test_evaluation_measures_the_sets(noisy: tuple[Subset, Subset], tmp_path: Path) -> None:
    train, val = noisy
    model = {"name": "SmallCNN", "weights": None, "widths": [16, 16], "dropout": 0.0}
    card = normalisation.new_card(Model.model_validate(model), None, None, train)
    task = loop.Task(card, None, train, replace(val, rows=val.rows[:140]), tmp_path)
    trained = loop.fit(task, options(epochs=10), Checkpoints(tmp_path), lambda e, s: None)
    new = replace(val, rows=val.rows[140:])
    batches: list[np.ndarray] = []
    found = inference.predict(trained.classifier, new, load_params(REPOSITORY).evaluate, batches.append)
    figures = metrics.measure(found, 15)
    shares, limit = np.concatenate(batches), trained.classifier.card.threshold(0.95)
    members = (shares >= limit) | (shares == shares.max(axis=1, keepdims=True))
    assert figures["coverage_95"] == members[np.arange(len(new)), new.labels[new.rows]].mean()
    assert figures["set_size_95"] == members.sum(axis=1).mean() > 1
    assert figures["coverage_95"] > figures["accuracy"]


def test_a_card_without_a_temperature_has_none() -> None:
    assert Classifier(CARD).card.temperature == 1
