"""The temperature against a minimum found by other means, and what it does to a model."""

import numpy as np
import pytest
import torch
from samples import CARD, make_subset, options
from scipy.optimize import minimize_scalar
from support import REPOSITORY
from torch.nn import functional

from imagetrail.evaluate import inference, metrics
from imagetrail.files.arrays import Subset
from imagetrail.model.classifier import Classifier
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


def test_a_calibrated_model_answers_the_same_and_less_surely(noisy: tuple[Subset, Subset], tmp_path) -> None:
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
    before, after = (inference.predict(m, val, settings, lambda batch: None) for m in (plain, calibrated))
    assert (before.predicted == after.predicted).all()
    assert after.uncalibrated == pytest.approx(before.confidence, abs=1e-6)
    assert before.uncalibrated is not before.confidence and (before.uncalibrated == before.confidence).all()
    one, other = (metrics.measure(predictions, 15) for predictions in (before, after))
    assert one["ece"] == one["ece_uncalibrated"] == pytest.approx(other["ece_uncalibrated"], abs=1e-6)
    assert other["loss"] < one["loss"]


def test_a_card_without_a_temperature_has_none() -> None:
    assert Classifier(CARD).card.temperature == 1
