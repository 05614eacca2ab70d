"""Schedules, losses and averages against values worked out by hand."""

import numpy as np
import pytest
import torch
from samples import make_subset
from support import REPOSITORY
from torch import nn

from imagetrail.errors import TrainingError
from imagetrail.params.load import load_params
from imagetrail.params.train import Train
from imagetrail.train import optimisation


def options(**changes: object) -> Train:
    return Train.model_validate(load_params(REPOSITORY).train.model_dump() | {"epochs": 8} | changes)


def rates(given: Train, steps_per_epoch: int = 1) -> list[float]:
    optimizer = optimisation.optimizer(given, [nn.Parameter(torch.zeros(1))])
    schedule = optimisation.schedule(given, optimizer, steps_per_epoch)
    assert schedule is not None
    found = []
    for _ in range(given.epochs * (steps_per_epoch if given.steps_each_batch else 1)):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


SGD = {"name": "SGD", "lr": 1.0}


def test_scheduler_steps_are_epochs() -> None:
    found = rates(options(optimizer=SGD, schedule={"name": "StepLR", "step_size": 3, "gamma": 0.1}))
    assert found == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_starts_after_warm_up_and_ends_with_training() -> None:
    found = rates(options(optimizer=SGD, schedule={"name": "CosineAnnealingLR"}, warmup_epochs=3))
    assert found == pytest.approx([0.25, 0.5, 0.75, *((1 + np.cos(np.pi * n / 5)) / 2 for n in range(5))])


def test_one_cycle_peaks_at_the_optimizers_rate() -> None:
    given = options(optimizer=SGD, schedule={"name": "OneCycleLR", "pct_start": 0.25})
    found = rates(given, steps_per_epoch=5)
    assert len(found) == 40
    assert max(found) == pytest.approx(1.0)
    assert np.argmax(found) == 9  # a quarter of the steps, counted from 0
    assert found[-1] < 1e-4


def test_class_weights_balance_the_classes() -> None:
    labels = [0] * 6 + [1] * 2
    subset = make_subset(np.zeros((8, 1, 2, 2), np.uint8), labels, list(range(8)), ["many", "few"])
    logits = torch.zeros(8, 2)
    targets = torch.tensor(labels)
    balanced = optimisation.loss(options(class_weights="balanced"), subset)
    each = [float(balanced(logits[targets == label], targets[targets == label])) for label in (0, 1)]
    assert each[0] == pytest.approx(each[1])
    plain = optimisation.loss(options(), subset)
    assert sum(each) == pytest.approx(float(plain(logits, targets))), "the scale stays that of the plain loss"


def test_class_weights_need_rows_of_every_class() -> None:
    subset = make_subset(np.zeros((2, 1, 2, 2), np.uint8), [0, 0], [0, 1], ["there", "absent"])
    with pytest.raises(TrainingError, match="no train row shows 'absent'; set it to null"):
        optimisation.loss(options(class_weights="balanced"), subset)


def test_label_smoothing_belongs_to_the_loss() -> None:
    subset = make_subset(np.zeros((2, 1, 2, 2), np.uint8), [0, 1], [0, 1], ["a", "b"])
    smooth = optimisation.loss(options(loss={"name": "CrossEntropyLoss", "label_smoothing": 0.2}), subset)
    value = float(smooth(torch.tensor([[2.0, 0.0]]), torch.tensor([0])))
    log_p = torch.log_softmax(torch.tensor([2.0, 0.0]), dim=0)
    assert value == pytest.approx(float(-(0.9 * log_p[0] + 0.1 * log_p[1])))


def test_the_optimizer_gets_no_frozen_parameters() -> None:
    learning, frozen = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1), requires_grad=False)
    optimizer = optimisation.optimizer(options(), [learning, frozen])
    assert optimizer.param_groups[0]["params"] == [learning]


@pytest.mark.parametrize("decay", [None, 0.75])
def test_averaged_weights_match_a_calculation_by_hand(decay: float | None) -> None:
    model = nn.Linear(1, 1, bias=False)
    averaged = optimisation.averaged(options(averaging={"start_epoch": 1, "decay": decay}), model)
    assert averaged is not None
    for value in (1.0, 2.0, 6.0):
        with torch.no_grad():
            model.weight.fill_(value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == pytest.approx(3.0 if decay is None else 0.75 * 1.25 + 0.25 * 6.0)


@pytest.mark.parametrize(
    "schedule", [{"name": "OneCycleLR", "pct_start": 2.0}, {"name": "StepLR", "step_size": 0}], ids=["built", "stepped"]
)
def test_torchs_errors_are_reported_before_the_first_epoch(schedule: dict) -> None:
    given = options(schedule=schedule)
    with pytest.raises(
        TrainingError, match=rf"train\.schedule\.name = '{schedule['name']}' was refused by torch for \d+ steps"
    ):
        optimisation.schedule(given, optimisation.optimizer(given, [nn.Parameter(torch.zeros(1))]), 5)


@pytest.mark.parametrize(
    ("arguments", "fused"),
    [({}, True), ({"foreach": False}, True), ({"foreach": True}, None), ({"fused": False}, False)],
)
def test_a_fused_form_is_taken_unless_another_is_asked_for(arguments: dict[str, object], fused: bool | None) -> None:
    for name in ("Adagrad", "Adam", "AdamW", "SGD"):
        given = options(arithmetic="native", optimizer={"name": name, "lr": 0.1} | arguments)
        assert optimisation.optimizer(given, [nn.Parameter(torch.zeros(1))]).defaults["fused"] is fused
    given = options(arithmetic="native", optimizer={"name": "RMSprop", "lr": 0.1})
    assert "fused" not in optimisation.optimizer(given, [nn.Parameter(torch.zeros(1))]).defaults
