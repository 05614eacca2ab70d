"""The training loop: seeded, resumable, choosing on validation rows."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from imagetrail import console
from imagetrail.errors import TrainingError
from imagetrail.files import artifacts
from imagetrail.files.arrays import Indices, Subset
from imagetrail.model import classifier as classifiers
from imagetrail.model import costs, devices, pretrained
from imagetrail.model.classifier import Card, Classifier
from imagetrail.params.train import Train
from imagetrail.train import optimisation
from imagetrail.train.augment import Augmentation
from imagetrail.train.checkpoints import Checkpoints


class Epoch(NamedTuple):
    """A line of plots/history.csv; without validation rows the two `val` fields are None."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean over the epoch's images, as they were after augmentation and as the weights were when each was seen."""
    train_accuracy: float
    """Of the same; where images are mixed, an answer is right that names the larger part."""
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    """Learning rate at the epoch's first step."""


@dataclass(frozen=True)
class Trained:
    """What a training ends with."""

    classifier: Classifier
    """On the device it was trained on, in evaluation mode, with the weights of the kept epoch."""
    history: list[Epoch]
    kept: Epoch
    multiply_adds: int
    """For one image."""

    def metrics(self) -> dict[str, object]:
        """metrics/train.json: the figures of the kept epoch, and what the model costs."""
        figures = {name: value for name, value in self.kept._asdict().items() if name not in ("epoch", "lr")}
        return {
            "epochs": len(self.history),
            "kept_epoch": self.kept.epoch,
            **{name: value for name, value in figures.items() if value is not None},
            "parameters": self.classifier.card.parameters,
            "multiply_adds": self.multiply_adds,
        }

    def save(self, root: Path) -> None:
        """Write models/, plots/history.csv and metrics/train.json, the last of them last."""
        classifiers.save(self.classifier, root / artifacts.MODELS)
        artifacts.write_rows(root / artifacts.PLOTS / "history.csv", Epoch._fields, self.history)
        artifacts.write_json(root / artifacts.METRICS / "train.json", self.metrics())


OnEpoch = Callable[[Epoch, float | None], None]
"""Called after each epoch with its record and the train images a second, which is None for epochs of an earlier try."""


@dataclass(frozen=True)
class Task:
    """What is to be trained, and on what."""

    card: Card
    """What to build; see classifier.new_card."""
    weights: Path | None
    """The file that model.weights names."""
    train: Subset
    """Rows that give gradients."""
    val: Subset
    """Rows that choose the kept epoch; may be empty where `keep` is `last`."""
    root: Path
    """The repository's root, below which the features of a frozen backbone are kept."""


def fit(task: Task, options: Train, checkpoints: Checkpoints, on_epoch: OnEpoch) -> Trained:
    """Train a classifier.

    Every epoch draws its order and its random numbers from (seed, epoch), so that a training which is killed and
    started again ends in the weights that it would have had.

    Args:
        task: what is to be trained.
        options: section `train` of params.yaml.
        checkpoints: where an interrupted training is found again; the caller clears it once the outputs are written.
        on_epoch: told of every epoch.

    Raises:
        TrainingError: the device is absent, the network does not fit the images, the weights or `max_params`, a
            parameter does not fit the class it is for, or the loss is no longer finite.
    """
    device = devices.choose(options.device)
    with devices.repeatable(device, options.threads):
        _seed(options.seed, 0)
        classifier = _build(task, options, device)
        multiply_adds = costs.multiply_adds(classifier, task.card.channels, task.train.dataset.image_size)
        model, train, val = _learning_part(classifier, task, options)
        state = _State.start(model, train, options, device)
        if (found := checkpoints.load()) is not None:
            state.restore(found)
            for epoch in state.history:
                on_epoch(epoch, None)
        done = len(state.history) * len(train)
        with console.bar("train", total=options.epochs * len(train), unit="image", done=done) as bar:
            while not state.finished(options):
                number = len(state.history) + 1
                _seed(options.seed, number)
                begin = time.perf_counter()
                epoch = _run_epoch(state, number, train, val, options, device, bar)
                on_epoch(epoch, len(train) / (time.perf_counter() - begin))
                state.record(epoch, keep_best=options.keep == "best")
                checkpoints.save(number, state.dump())
        model.load_state_dict(state.kept_weights)
        return Trained(classifier.eval(), state.history, state.kept, multiply_adds)


def _build(task: Task, options: Train, device: torch.device) -> Classifier:
    classifier = Classifier(task.card)
    limit, count = options.max_params, classifier.card.parameters
    if limit is not None and count > limit:
        raise TrainingError(
            f"the network has {count:,} parameters and train.max_params = {limit:,}; make it smaller or raise that."
        )
    if task.weights is not None:
        pretrained.load(classifier.network, task.weights)
    return classifier.to(device)


def _learning_part(classifier: Classifier, task: Task, options: Train) -> tuple[nn.Module, Subset, Subset]:
    """The classifier and pixels; or its head and features, where nothing else learns and nothing is augmented."""
    if not classifier.frozen or options.augment is not None:
        return classifier, task.train, task.val
    from imagetrail.train import features  # torchvision's models take a second to import

    train, val = features.of_backbone(task.root, classifier, [task.train, task.val])
    return classifier.head, train, val


@dataclass
class _State:
    """Everything that changes from epoch to epoch."""

    model: nn.Module
    loss: nn.Module
    augment: Augmentation | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    averaged: AveragedModel | None
    history: list[Epoch]
    kept_weights: dict[str, Tensor]
    kept_index: int = -1

    @classmethod
    def start(cls, model: nn.Module, train: Subset, options: Train, device: torch.device) -> "_State":
        optimizer = optimisation.optimizer(options, model.parameters())
        steps = sum(1 for _ in shuffled_batches(train.rows, options.batch_size, (0, 0)))
        return cls(
            model=model,
            loss=optimisation.loss(options, train).to(device),
            augment=Augmentation(options.augment, len(train.dataset.classes)) if options.augment else None,
            optimizer=optimizer,
            schedule=optimisation.schedule(options, optimizer, steps),
            averaged=optimisation.averaged(options, model),
            history=[],
            kept_weights={},
        )

    @property
    def answering(self) -> nn.Module:
        """What validation measures and what becomes the model: the averaged weights, once there are some."""
        if self.averaged is not None and self.averaged.n_averaged > 0:
            module: nn.Module = self.averaged.module
            return module
        return self.model

    @property
    def kept(self) -> Epoch:
        return self.history[self.kept_index]

    def record(self, epoch: Epoch, *, keep_best: bool) -> None:
        """Add an epoch; copy the weights if they are the ones to keep."""
        self.history.append(epoch)
        if not keep_best or _better(epoch, self.kept if self.kept_weights else None):
            self.kept_index = len(self.history) - 1
            self.kept_weights = copy.deepcopy(self.answering.state_dict())

    def finished(self, options: Train) -> bool:
        """Whether all epochs are done, or `patience` of them went by without a better one."""
        if options.patience is not None and self.history:
            best = max(range(len(self.history)), key=lambda index: _rank(self.history[index]))
            if len(self.history) - 1 - best >= options.patience:
                return True
        return len(self.history) >= options.epochs

    def dump(self) -> dict[str, Any]:
        return {
            "weights": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "kept_weights": self.kept_weights,
            "kept_index": self.kept_index,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "history": [epoch._asdict() for epoch in self.history],
        }

    def restore(self, dumped: dict[str, Any]) -> None:
        self.model.load_state_dict(dumped["weights"])
        if self.averaged:
            self.averaged.load_state_dict(dumped["averaged"])
        self.kept_weights, self.kept_index = dumped["kept_weights"], dumped["kept_index"]
        self.optimizer.load_state_dict(dumped["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(dumped["schedule"])
        self.history = [Epoch(**values) for values in dumped["history"]]


def _rank(epoch: Epoch) -> tuple[float, float]:
    """Higher validation accuracy; between equals, lower validation loss."""
    assert epoch.val_accuracy is not None and epoch.val_loss is not None
    return epoch.val_accuracy, -epoch.val_loss


def _better(epoch: Epoch, than: Epoch | None) -> bool:
    return than is None or _rank(epoch) > _rank(than)


def _seed(seed: int, epoch: int) -> None:
    """Set torch's (forked) random state for an epoch; 0 is the drawing of the first weights."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint32)[0]))


def _run_epoch(
    state: _State, number: int, train: Subset, val: Subset, options: Train, device: torch.device, bar: "tqdm[Any]"
) -> Epoch:
    lr = float(state.optimizer.param_groups[0]["lr"])
    totals = torch.zeros(2, dtype=torch.float64, device=device)  # loss, correct
    averaging = options.averaging if options.averaging and number >= options.averaging.start_epoch else None
    state.model.train()
    for rows in shuffled_batches(train.rows, options.batch_size, (options.seed, number)):
        inputs, labels = load_batch(train, rows, device)
        targets = labels
        if state.augment is not None:
            inputs, targets = state.augment(inputs / 255, labels)
        with _autocast(options, device):
            logits = state.model(inputs)
        loss = state.loss(logits.float(), targets)
        state.optimizer.zero_grad(set_to_none=True)
        (loss / len(rows)).backward()
        if options.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), options.clip_grad_norm)
        state.optimizer.step()
        if state.averaged is not None and averaging is not None and averaging.decay is not None:
            state.averaged.update_parameters(state.model)
        if state.schedule is not None and options.steps_each_batch:
            state.schedule.step()
        wanted = targets if targets.dim() == 1 else targets.argmax(dim=1)
        totals += torch.stack([loss.detach().double(), (logits.argmax(dim=1) == wanted).sum().double()])
        bar.update(len(rows))
    if state.schedule is not None and not options.steps_each_batch:
        state.schedule.step()
    if state.averaged is not None and averaging is not None and averaging.decay is None:
        state.averaged.update_parameters(state.model)
    train_loss, train_accuracy = (totals / len(train)).tolist()
    if not math.isfinite(train_loss):
        raise TrainingError(
            f"the loss is {train_loss} in epoch {number}; lower train.optimizer.lr = {options.optimizer.lr:g}, or set "
            "train.clip_grad_norm."
        )
    val_loss, val_accuracy = validate(state.answering, state.loss, val, options, device) if len(val) else (None, None)
    bar.set_postfix_str(
        f"epoch {number}/{options.epochs} loss {train_loss:.4f} accuracy {train_accuracy:.4f}"
        + (f" val {val_accuracy:.4f}" if val_accuracy is not None else "")
    )
    return Epoch(number, train_loss, train_accuracy, val_loss, val_accuracy, lr)


@torch.inference_mode()
def validate(
    model: nn.Module, loss: nn.Module, val: Subset, options: Train, device: torch.device
) -> tuple[float, float]:
    """(loss, accuracy) over the rows of `val`: sums over all rows, divided once."""
    model.eval()
    totals = torch.zeros(2, dtype=torch.float64, device=device)
    for start in range(0, len(val), options.batch_size):
        inputs, labels = load_batch(val, val.rows[start : start + options.batch_size], device)
        with _autocast(options, device):
            logits = model(inputs)
        totals += torch.stack([loss(logits.float(), labels).double(), (logits.argmax(dim=1) == labels).sum().double()])
    mean_loss, accuracy = (totals / len(val)).tolist()
    return mean_loss, accuracy


def _autocast(options: Train, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16")


def shuffled_batches(rows: Indices, batch_size: int, seed: tuple[int, int]) -> Iterator[Indices]:
    """The rows in random order, cut into batches; each batch sorted, for the disk's sake.

    A last batch of one row joins the one before, since batch normalisation needs two.
    """
    order = rows[np.random.default_rng(seed).permutation(len(rows))]
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and len(order) - cuts[-1] == 1 and batch_size > 1:
        cuts.pop()
    yield from (np.sort(batch) for batch in np.split(order, cuts))


def load_batch(subset: Subset, rows: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
    """(pixels uint8 [n,C,H,W] or features float32 [n,D], labels int64 [n]) of rows of a subset, on the device."""
    return _to(device, subset.images[rows]), _to(device, subset.labels[rows])


def _to(device: torch.device, values: npt.NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
