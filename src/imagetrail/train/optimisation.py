"""Build optimizer, schedule, clipping and averaging from params.yaml, by torch's names, and step them."""

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from imagetrail.errors import TrainingError
from imagetrail.files.arrays import Subset
from imagetrail.params.train import Train
from imagetrail.train.batches import batches_per_epoch


class Optimisation:
    """The optimizer of a model with its schedule, gradient clipping and weight averaging."""

    def __init__(self, options: Train, model: nn.Module, train: Subset) -> None:
        """Build for a model that is on its device.

        Raises:
            TrainingError: torch rejects an argument.
        """
        self._options = options
        self._model = model
        self._optimizer = optimizer(options, model.parameters())
        self._schedule = schedule(
            options, self._optimizer, batches_per_epoch(train.rows, options.batch_size, options.shards)
        )
        self._averaged = averaged(options, model)
        self._averages = False  # whether this epoch is averaged

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def answering(self) -> nn.Module:
        """The model that is validated and kept: the averaged one, once averaging has started."""
        if self._averaged is not None and self._averaged.n_averaged > 0:
            module: nn.Module = self._averaged.module
            return module
        return self._model

    def begin_epoch(self, number: int) -> None:
        """Start an epoch, counted from 1."""
        averaging = self._options.averaging
        self._averages = averaging is not None and number >= averaging.start_epoch

    def step(self) -> None:
        """Change the weights by the gradient that they hold, of a batch's mean loss."""
        if self._options.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._options.clip_grad_norm)
        self._optimizer.step()
        if self._is_exponential:
            self._average()
        if self._schedule is not None and self._options.steps_each_batch:
            self._schedule.step()

    def end_epoch(self) -> None:
        """Step everything that is stepped once per epoch."""
        if self._schedule is not None and not self._options.steps_each_batch:
            self._schedule.step()
        if not self._is_exponential:
            self._average()

    @property
    def _is_exponential(self) -> bool:
        return self._options.averaging is not None and self._options.averaging.decay is not None

    def _average(self) -> None:
        if self._averaged is not None and self._averages:
            self._averaged.update_parameters(self._model)

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the model's weights."""
        parts = {"optimizer": self._optimizer, "schedule": self._schedule, "averaged": self._averaged}
        return {name: None if part is None else part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._optimizer.load_state_dict(state["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])


def loss(options: Train, train: Subset) -> nn.Module:
    """Build the loss, summed over a batch; class weights have a mean of 1 over the train rows.

    Raises:
        TrainingError: torch rejects an argument, or class weights are requested and a class has no train row.
    """
    weight = None
    if options.class_weights == "balanced":
        counts = np.bincount(train.labels[train.rows], minlength=len(train.dataset.classes))
        if not counts.all():
            raise TrainingError(
                f"train.class_weights = 'balanced', and no train row shows {train.dataset.classes[counts.argmin()]!r}; "
                "set it to null, or add such images."
            )
        weight = torch.from_numpy(len(train) / (len(counts) * counts)).float()
    name, arguments = options.loss.name, options.loss.arguments
    module: nn.Module = _built(nn, name, "train.loss", **arguments, weight=weight, reduction="sum")
    return module


def optimizer(options: Train, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer of the parameters that learn, with one kernel for a step where torch has one.

    A loop over the parameters costs a quarter of fashion-mlp's time, and takes square roots with MKL, which rounds them
    by the processor.

    Raises:
        TrainingError: torch rejects an argument.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    name, arguments = options.optimizer.name, options.optimizer.arguments
    accepted = inspect.signature(getattr(torch.optim, name)).parameters
    if "fused" in accepted and not (arguments.get("foreach") or arguments.get("differentiable")):
        arguments = {"fused": True} | arguments
    built: torch.optim.Optimizer = _built(torch.optim, name, "train.optimizer", learning, **arguments)
    return built


def schedule(options: Train, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> lr_scheduler.LRScheduler | None:
    """Build the schedule, after a linear warm-up if params.yaml has one.

    A throwaway copy is stepped to the end first, as some settings fail only after an epoch.

    Args:
        options: section `train` of params.yaml.
        optimizer: whose learning rate the schedule sets.
        steps_per_epoch: batches in an epoch.

    Raises:
        TrainingError: torch rejects an argument.
    """
    if options.schedule is None:
        return None
    steps = options.epochs * (steps_per_epoch if options.steps_each_batch else 1)
    try:
        rehearsal = torch.optim.SGD([nn.Parameter(torch.zeros(1))], options.optimizer.lr)
        rehearsed = _schedule(options, rehearsal, steps_per_epoch)
        for _ in range(steps - 1):
            rehearsal.step()
            rehearsed.step()
        return _schedule(options, optimizer, steps_per_epoch)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TrainingError(
            f"train.schedule.name = {options.schedule.name!r} was refused by torch for {steps} steps: {error}"
        ) from None


def _schedule(options: Train, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    assert options.schedule is not None
    name, arguments, rise = options.schedule.name, options.schedule.arguments, options.warmup_epochs
    if options.steps_each_batch:
        arguments |= {"max_lr": options.optimizer.lr, "total_steps": options.epochs * steps_per_epoch}
    if name == "CosineAnnealingLR":
        arguments = {"T_max": options.epochs - rise} | arguments
    warmup = lr_scheduler.LinearLR(optimizer, 1 / (rise + 1), total_iters=rise) if rise else None
    main: lr_scheduler.LRScheduler = getattr(lr_scheduler, name)(optimizer, **arguments)
    return main if warmup is None else lr_scheduler.SequentialLR(optimizer, [warmup, main], milestones=[rise])


def averaged(options: Train, model: nn.Module) -> AveragedModel | None:
    """Copy the model to average its weights, and the statistics of batch normalisation with them."""
    if options.averaging is None:
        return None
    decay = options.averaging.decay
    exponential = get_ema_multi_avg_fn(decay) if decay else None  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=exponential, use_buffers=True)


def _built(module: object, name: str, parameter: str, *args: object, **arguments: object) -> Any:
    try:
        return getattr(module, name)(*args, **arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise TrainingError(f"{parameter}.name = {name!r} was refused by torch: {error}") from None
