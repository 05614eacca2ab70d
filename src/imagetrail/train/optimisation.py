"""What params.yaml says about learning, built from torch.optim by its own names."""

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


def loss(options: Train, train: Subset) -> nn.Module:
    """The loss, summed over a batch; class weights are such that their mean over the train rows is 1.

    Raises:
        TrainingError: torch refuses an argument, or a class to be weighed has no train row.
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
    """The optimizer of the parameters that learn.

    Raises:
        TrainingError: torch refuses an argument.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    name = options.optimizer.name
    built: torch.optim.Optimizer = _built(torch.optim, name, "train.optimizer", learning, **options.optimizer.arguments)
    return built


def schedule(options: Train, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> lr_scheduler.LRScheduler | None:
    """The schedule, after a linear warm-up where one is wanted.

    It is rehearsed first, since some settings fail only when they are stepped, which would be after an epoch.

    Args:
        options: section `train` of params.yaml.
        optimizer: whose learning rate it sets.
        steps_per_epoch: batches of an epoch.

    Raises:
        TrainingError: torch refuses an argument.
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
    """A copy of the model that averages its weights, and the statistics of batch normalisation with them."""
    if options.averaging is None:
        return None
    decay = options.averaging.decay
    exponential = get_ema_multi_avg_fn(decay) if decay else None  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=exponential, use_buffers=True)


def _built(module: object, name: str, parameter: str, *args: object, **arguments: object) -> Any:
    try:
        return getattr(module, name)(*args, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{parameter}.name = {name!r} was refused by torch: {error}") from None
