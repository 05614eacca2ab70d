"""Run the epochs: seeded, resumable, and selected on validation rows."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imagetrail import console
from imagetrail.errors import TrainingError
from imagetrail.files import artifacts
from imagetrail.files.arrays import Subset
from imagetrail.model import arithmetic, costs, devices, networks, pretrained
from imagetrail.model import classifier as classifiers
from imagetrail.model.classifier import Card, Classifier
from imagetrail.model.feeds import Feed
from imagetrail.params.train import Train
from imagetrail.train import calibration, optimisation
from imagetrail.train.augment import Augmentation
from imagetrail.train.batches import shuffled_batches
from imagetrail.train.checkpoints import Checkpoints
from imagetrail.train.optimisation import Optimisation
from imagetrail.train.processes import ALONE, Group
from imagetrail.train.shards import Shards, seed_of

PREPARING_ROWS = 4096
"""At most so many train rows, evenly spread, that a network's first layer is made from."""


class Epoch(NamedTuple):
    """A line of plots/history.csv; without validation rows the two `val` fields are None."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean over the epoch's augmented images, each with the weights of its step."""
    train_accuracy: float
    """Over the same images; of two mixed images, the larger part counts as the label."""
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    """Learning rate at the epoch's first step."""


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    classifier: Classifier
    """On the device it was trained on, in evaluation mode, with the weights of the kept epoch."""
    history: list[Epoch]
    kept: Epoch
    multiply_adds: int
    """For one image."""

    def metrics(self) -> dict[str, object]:
        """Return metrics/train.json: the figures of the kept epoch, and the model's cost."""
        figures = {name: value for name, value in self.kept._asdict().items() if name not in ("epoch", "lr")}
        return {
            "epochs": len(self.history),
            "kept_epoch": self.kept.epoch,
            **{name: value for name, value in figures.items() if value is not None},
            "parameters": self.classifier.card.parameters,
            "multiply_adds": self.multiply_adds,
        }

    def save(self, root: Path) -> None:
        """Write models/, plots/history.csv and metrics/train.json, in this order."""
        classifiers.save(self.classifier, root / artifacts.MODELS)
        artifacts.write_rows(root / artifacts.PLOTS / "history.csv", Epoch._fields, self.history)
        artifacts.write_json(root / artifacts.METRICS / "train.json", self.metrics())


OnEpoch = Callable[[Epoch, float | None], None]
"""Called after each epoch with its record and its train images per second; None for epochs read from a checkpoint."""


@dataclass(frozen=True)
class Task:
    """The card of the model to train, its weights to start from, and its data."""

    card: Card
    """Description of the model to build; see normalisation.new_card."""
    weights: Path | None
    """The file that model.weights names."""
    train: Subset
    """Rows to train on."""
    val: Subset
    """Rows that select the kept epoch; may be empty if `keep` is `last`."""
    root: Path
    """The repository's root, below which the features of a frozen backbone are kept."""


def fit(
    task: Task, options: Train, checkpoints: Checkpoints, on_epoch: OnEpoch, group: Group = ALONE
) -> Trained:  # fmt: skip
    """Train a classifier.

    Every epoch draws its order and its random numbers from (seed, epoch), so a training that is killed and started
    again ends with the same weights.

    Args:
        task: what to train.
        options: section `train` of params.yaml.
        checkpoints: to resume from; the caller clears them once the outputs are written.
        on_epoch: called after every epoch.
        group: the processes that share the training; each returns the same.

    Raises:
        TrainingError: the device or the environment of `arithmetic` is absent; the network does not fit the images,
            the weights or `max_params`; a parameter does not fit its class; the rows are fewer than `shards` need; or
            the loss is no longer finite.
    """
    arithmetic.require(options.arithmetic)
    if options.shards > 1 and len(task.train) < 2 * options.shards:
        raise TrainingError(
            f"train.shards = {options.shards} parts need {2 * options.shards} train rows, and there are "
            f"{len(task.train)}; lower it."
        )
    device = devices.choose(options.device)
    with devices.repeatable(device, options.threads):
        torch.manual_seed(seed_of(options.seed, 0))  # draws the first weights
        classifier = _build(task, options, device)
        multiply_adds = costs.multiply_adds(classifier, task.card.channels, task.train.dataset.image_size)
        training = _Training(*_learning_part(classifier, task, options), options, device, group, task.card.seen)
        found = checkpoints.load()
        found = group.newest(found, 0 if found is None else len(found["history"]))
        if found is not None:
            training.load_state_dict(found)
            for epoch in training.history:
                on_epoch(epoch, None)
        images = len(task.train)
        done = len(training.history) * images
        with console.bar("train", total=options.epochs * images, unit="image", done=done, hidden=group.rank > 0) as bar:
            while not training.is_finished:
                begin = time.perf_counter()
                epoch = training.run_epoch(bar)
                on_epoch(epoch, images / (time.perf_counter() - begin))
                training.record(epoch)
                if group.local_rank == 0:
                    checkpoints.save(epoch.epoch, training.state_dict())
        training.model.load_state_dict(training.kept_weights)
        if len(task.val):
            logits, labels = training.validation_answers(calibration.ENOUGH_ROWS)
            fitted = 1.0 if options.calibration is None else calibration.temperature(logits, labels)
            limits = calibration.thresholds(logits / fitted, labels)
            classifier.card = replace(classifier.card, temperature=fitted, thresholds=limits)
        return Trained(classifier.eval(), training.history, training.kept, multiply_adds)


def _build(task: Task, options: Train, device: torch.device) -> Classifier:
    classifier = Classifier(task.card)
    limit, count = options.max_params, classifier.card.parameters
    if limit is not None and count > limit:
        raise TrainingError(
            f"the network has {count:,} parameters and train.max_params = {limit:,}; make it smaller or raise that."
        )
    if task.weights is not None:
        pretrained.load(classifier.network, task.weights)
    elif isinstance(classifier.network, networks.Prepared):
        rows = task.train.rows[:: -(-len(task.train) // PREPARING_ROWS)]
        batches = (task.train.read(rows[start : start + 64]) for start in range(0, len(rows), 64))
        classifier.network.prepare(classifier.normalise(torch.from_numpy(pixels)) for pixels in batches)
    return classifier.to(device)


def _learning_part(classifier: Classifier, task: Task, options: Train) -> tuple[nn.Module, Subset, Subset]:
    """Return what learns and its inputs: the classifier and pixels, or the head and features if that is equivalent."""
    if not classifier.frozen or options.augment is not None:
        return classifier, task.train, task.val
    from imagetrail.train import features  # importing torchvision's models takes a second

    train, val = features.of_backbone(task.root, classifier, [task.train, task.val])
    return classifier.head, train, val


class _Training:
    """A training in progress: everything that changes from epoch to epoch."""

    def __init__(
        self, model: nn.Module, train: Subset, val: Subset, options: Train, device: torch.device, group: Group,
        seen: tuple[int, int],
    ) -> None:  # fmt: skip
        self.model = model
        self.history: list[Epoch] = []
        self.kept_weights: dict[str, Tensor] = {}
        self._kept_index = -1
        self._train, self._val, self._options, self._device, self._group = train, val, options, device, group
        self._train_feed, self._val_feed = Feed(train, device), Feed(val, device)
        self._shards = Shards(model, options.shards, group)
        self._optimisation = Optimisation(options, model, train)
        self._loss = optimisation.loss(options, train).to(device)
        self._augment = Augmentation(options.augment, len(train.dataset.classes), seen) if options.augment else None

    @property
    def kept(self) -> Epoch:
        return self.history[self._kept_index]

    @property
    def is_finished(self) -> bool:
        """Return whether all epochs are done, or `patience` of them brought no improvement."""
        if self._options.patience is not None and self.history:
            best = max(range(len(self.history)), key=lambda index: _rank(self.history[index]))
            if len(self.history) - 1 - best >= self._options.patience:
                return True
        return len(self.history) >= self._options.epochs

    def run_epoch(self, bar: console.Bar) -> Epoch:
        """Train on every row once, then validate.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        number, lr = len(self.history) + 1, self._optimisation.lr
        seed = (self._options.seed, number)
        torch.manual_seed(seed_of(*seed))
        self._optimisation.begin_epoch(number)
        self.model.train()
        totals = _Totals(self._options.shards, self._device)
        batches = list(shuffled_batches(self._train.rows, self._options.batch_size, self._options.shards, seed))
        loaded = self._train_feed.batches(rows for batch in batches for rows in self._shards.cut(batch))
        for step, batch in enumerate(batches):
            for part in self._shards.parts((*seed, step)):
                loss, logits, targets = self._forward(*next(loaded))
                (loss / len(batch)).backward()  # type: ignore[no-untyped-call]
                totals.add(part, loss, logits, targets)
            self._optimisation.step()
            bar.update(len(batch))
        self._optimisation.end_epoch()
        train_loss, train_accuracy = totals.mean(len(self._train), self._shards.own, self._group)
        self._check_finite("loss", train_loss, number)
        val_loss, val_accuracy = self._validate() if len(self._val) else (None, None)
        self._check_finite("validation loss", val_loss, number)
        bar.set_postfix_str(
            f"epoch {number}/{self._options.epochs} loss {train_loss:.4f} accuracy {train_accuracy:.4f}"
            + (f" val {val_accuracy:.4f}" if val_accuracy is not None else "")
        )
        return Epoch(number, train_loss, train_accuracy, val_loss, val_accuracy, lr)

    def _forward(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return a batch's summed loss, logits [n,K] and targets: int64 [n], or float32 [n,K] if images are mixed."""
        targets = labels
        if self._augment is not None:
            inputs, targets = self._augment(inputs / 255, labels)
        try:
            with self._autocast():
                logits = self.model(inputs)
        except ValueError as error:  # batch normalisation of one value a channel
            raise TrainingError(
                f"train.batch_size = {self._options.batch_size} is too small ({error}); raise it."
            ) from None
        return self._loss(logits.float(), targets), logits, targets

    def _check_finite(self, name: str, loss: float | None, epoch: int) -> None:
        if loss is not None and not math.isfinite(loss):
            raise TrainingError(
                f"the {name} is {loss} in epoch {epoch}; lower train.optimizer.lr = {self._options.optimizer.lr:g}, or "
                "set train.clip_grad_norm."
            )

    @torch.inference_mode()
    def _validate(self) -> tuple[float, float]:
        """Return (loss, accuracy) over the validation rows; batches are shared out to the parts in turns."""
        model, size = self._optimisation.answering.eval(), self._options.batch_size
        totals = _Totals(self._options.shards, self._device)
        starts = [(n % self._options.shards, start) for n, start in enumerate(range(0, len(self._val), size))]
        own = [(part, start) for part, start in starts if part in self._shards.own]
        loaded = self._val_feed.batches(self._val.rows[start : start + size] for _, start in own)
        for (part, _), (inputs, labels) in zip(own, loaded, strict=True):
            with self._autocast():
                logits = model(inputs)
            totals.add(part, self._loss(logits.float(), labels), logits, labels)
        return totals.mean(len(self._val), self._shards.own, self._group)

    @torch.inference_mode()
    def validation_answers(self, most: int) -> tuple[Tensor, Tensor]:
        """Return logits float32 [n,K] and labels int64 [n] of evenly spread validation rows, as `evaluate` computes."""
        rows, size = self._val.rows[:: -(-len(self._val) // most)], self._options.batch_size
        model = self.model.eval()
        loaded = self._val_feed.batches(rows[start : start + size] for start in range(0, len(rows), size))
        answers = [(model(inputs).float().cpu(), labels.cpu()) for inputs, labels in loaded]
        logits, labels = (torch.cat(part) for part in zip(*answers, strict=True))
        return logits, labels

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._options.precision == "bfloat16")

    def record(self, epoch: Epoch) -> None:
        """Add an epoch, and copy the weights if they are the ones to keep."""
        self.history.append(epoch)
        if self._options.keep == "last" or not self.kept_weights or _rank(epoch) > _rank(self.kept):
            self._kept_index = len(self.history) - 1
            self.kept_weights = copy.deepcopy(self._optimisation.answering.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return self._optimisation.state_dict() | {
            "weights": self.model.state_dict(),
            "kept_weights": self.kept_weights,
            "kept_index": self._kept_index,
            "history": [epoch._asdict() for epoch in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self._optimisation.load_state_dict(state)
        self.kept_weights, self._kept_index = state["kept_weights"], state["kept_index"]
        self.history = [Epoch(**values) for values in state["history"]]


def _rank(epoch: Epoch) -> tuple[float, float]:
    """Order epochs by validation accuracy; the lower validation loss breaks ties."""
    assert epoch.val_accuracy is not None and epoch.val_loss is not None
    return epoch.val_accuracy, -epoch.val_loss


class _Totals:
    """Loss and correct predictions: summed on the device for each part of the batches, divided once."""

    def __init__(self, shards: int, device: torch.device) -> None:
        self._sums = torch.zeros(shards, 2, dtype=torch.float64, device=device)

    def add(self, part: int, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        wanted = targets if targets.dim() == 1 else targets.argmax(dim=1)
        right = (logits.argmax(dim=1) == wanted).sum()
        self._sums[part] += torch.stack([loss.detach().double(), right.double()])

    def mean(self, images: int, own: range, group: Group) -> tuple[float, float]:
        """Return (loss, accuracy) of all processes' images."""
        parts = group.gather(self._sums[own.start : own.stop]).tolist()
        return sum(loss for loss, _ in parts) / images, sum(right for _, right in parts) / images
