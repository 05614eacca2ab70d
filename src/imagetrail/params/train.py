"""Section `train`: the training of the network."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from imagetrail.params import signatures
from imagetrail.params.named import Named
from imagetrail.params.section import Device, Finite, Positive, PowerOfTwo, Section, Seed, Threads

MIXING = frozenset({"RandomMixUpV2", "RandomCutMixV2"})
"""Augmentations that mix two images, and so two labels."""


class Optimizer(Named):
    """A class of torch.optim and its arguments."""

    lr: Annotated[Finite, Field(gt=0)]
    """Learning rate."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.OPTIMIZERS)


class Schedule(Named):
    """A class of torch.optim.lr_scheduler and its arguments.

    Stepped once an epoch, so its lengths are in epochs; only OneCycleLR is stepped after every batch, and its peak is
    train.optimizer.lr. CosineAnnealingLR without T_max spans the training.
    """

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.SCHEDULES)


class Loss(Named):
    """A loss class of torch.nn and its arguments."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.LOSSES)


class Averaging(Section):
    """Averaged weights (torch.optim.swa_utils), which are validated and become the model."""

    start_epoch: Positive
    """The first epoch that is averaged; before it the weights are used as they are."""
    decay: Annotated[float, Field(gt=0, lt=1)] | None
    """Decay of an exponential average after every step; null takes the mean of the weights at the ends of epochs."""


class Normalisation(Section):
    """Mean and standard deviation of each channel, for pixels scaled to [0, 1]."""

    mean: list[Finite]
    std: list[Annotated[Finite, Field(gt=0)]]


class Augment(Named):
    """A class of kornia.augmentation and its arguments; each image of a batch gets its own random numbers."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.AUGMENTATIONS)


class Train(Section):
    """Settings of the training."""

    seed: Seed
    epochs: Positive
    batch_size: Positive
    """Images per batch."""
    shards: PowerOfTwo
    """Fixed parts of each batch, which as many processes as that can share; each part has its own random numbers and
    statistics of batch normalisation, so another number gives other weights."""
    optimizer: Optimizer
    schedule: Schedule | None
    warmup_epochs: Annotated[int, Field(ge=0)]
    """Epochs in which the learning rate rises linearly, before the schedule starts."""
    loss: Loss
    class_weights: Literal["balanced"] | None
    """balanced weighs each class in the loss by the inverse of its share of the train rows; null weighs all classes
    equally."""
    clip_grad_norm: Annotated[Finite, Field(gt=0)] | None
    """Largest norm of the gradient, which is clipped to it."""
    averaging: Averaging | None
    augment: Annotated[list[Augment], Field(min_length=1)] | None
    """kornia's augmentations, applied to each batch in this order; null applies none."""
    normalisation: Normalisation | None
    """Null takes that of the pretrained weights, or the mean and standard deviation of the train rows."""
    keep: Literal["best", "last"]
    """Epoch whose weights become the model: that with the best validation accuracy, or the last."""
    patience: Positive | None
    """Stop after this many epochs without a better validation accuracy; null trains all epochs."""
    calibration: Literal["temperature"] | None
    """temperature fits the model's confidence to the validation rows (Guo et al., 2017), which changes no answer; null
    leaves it as the training made it."""
    max_params: Positive | None
    """Limit of the number of parameters; a larger network is rejected before the first batch."""
    arithmetic: Literal["portable", "native"]
    """portable gives the same bits on every x86-64 processor, at half the speed or less; native is the fastest that
    this machine has, and the same bits only here."""
    precision: Literal["float32", "bfloat16"]
    device: Device
    """auto is CUDA if available."""
    threads: Threads
    """CPU threads of torch; another number can change the last bits of the weights."""

    @property
    def steps_each_batch(self) -> bool:
        """Return whether the schedule steps after every batch instead of every epoch."""
        return self.schedule is not None and self.schedule.name == "OneCycleLR"

    @model_validator(mode="after")
    def _batches_can_be_cut(self) -> Self:
        if self.batch_size % self.shards:
            raise ValueError(
                f"batch_size = {self.batch_size} cannot be cut into shards = {self.shards} equal parts; make it a "
                "multiple"
            )
        return self

    @model_validator(mode="after")
    def _labels_mix_once(self) -> Self:
        mixing = [augment.name for augment in self.augment or [] if augment.name in MIXING]
        if len(mixing) > 1:
            raise ValueError(f"augment has {' and '.join(mixing)}, and labels can be mixed once; keep one of them")
        if mixing and self.loss.name != "CrossEntropyLoss":
            raise ValueError(
                f"augment has {mixing[0]}, which mixes labels: {self.loss.name} cannot take that; use CrossEntropyLoss"
            )
        return self

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        schedule = self.schedule.name if self.schedule else None
        if self.warmup_epochs and (schedule is None or schedule == "OneCycleLR"):
            why = "has a warm-up of its own, pct_start" if schedule else "is null, so nothing follows the warm-up"
            raise ValueError(f"warmup_epochs = {self.warmup_epochs} has no effect: train.schedule {why}; set it to 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs = {self.warmup_epochs} leaves none of epochs = {self.epochs}; lower it")
        if self.averaging and self.averaging.start_epoch > self.epochs:
            raise ValueError(
                f"averaging.start_epoch = {self.averaging.start_epoch} has no effect in {self.epochs} epochs; lower it"
            )
        if self.patience and self.patience >= self.epochs:
            raise ValueError(f"patience = {self.patience} has no effect in {self.epochs} epochs; lower it or set null")
        return self
