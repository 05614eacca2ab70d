"""The training loop: seeded, resumable, choosing on validation rows."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from imagetrail import devices
from imagetrail.arrays import Indices, Subset
from imagetrail.checkpoints import Checkpoints
from imagetrail.classifier import Card, Classifier
from imagetrail.errors import TrainingError
from imagetrail.params import Train


class Epoch(NamedTuple):
    """A line of plots/history.csv; without validation rows the two `val` fields are None."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean over the epoch's images, as the weights were when each was seen."""
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    """Learning rate during the epoch."""


@dataclass(frozen=True)
class Trained:
    """What a training ends with."""

    classifier: Classifier
    """On the device it was trained on, in evaluation mode, with the weights of the kept epoch."""
    history: list[Epoch]
    kept: Epoch

    def metrics(self) -> dict[str, object]:
        """metrics/train.json: the figures of the kept epoch."""
        figures = {name: value for name, value in self.kept._asdict().items() if name not in ("epoch", "lr")}
        return {
            "epochs": len(self.history),
            "kept_epoch": self.kept.epoch,
            **{name: value for name, value in figures.items() if value is not None},
            "parameters": self.classifier.card.parameters,
        }


OnEpoch = Callable[[Epoch, float | None], None]
"""Called after each epoch with its record and the train images a second, which is None for epochs of an earlier try."""


def fit(card: Card, train: Subset, val: Subset, options: Train, checkpoints: Checkpoints, on_epoch: OnEpoch) -> Trained:
    """Train a classifier.

    Every epoch draws its order and its random numbers from (seed, epoch), so that a training which is killed and
    started again ends in the weights that it would have had.

    Args:
        card: what to build; see classifier.new_card.
        train: rows that give gradients.
        val: rows that choose the kept epoch; may be empty where `options.keep` is `last`.
        options: section `train` of params.yaml.
        checkpoints: where an interrupted training is found again; the caller clears it once the outputs are written.
        on_epoch: told of every epoch.

    Raises:
        TrainingError: the device is absent, a parameter does not fit the class it is for, or the loss is no longer
            finite.
    """
    device = devices.choose(options.device)
    with devices.repeatable(device, options.threads):
        _seed(options.seed, 0)
        state = _State.start(card, options, device)
        if (found := checkpoints.load()) is not None:
            state.restore(found)
            for epoch in state.history:
                on_epoch(epoch, None)
        done = len(state.history) * len(train)
        with _bar(options.epochs * len(train), done) as bar:
            for number in range(len(state.history) + 1, options.epochs + 1):
                _seed(options.seed, number)
                begin = time.perf_counter()
                epoch = _run_epoch(state, number, train, val, options, device, bar)
                on_epoch(epoch, len(train) / (time.perf_counter() - begin))
                state.record(epoch, keep_best=options.keep == "best")
                checkpoints.save(number, state.dump())
        state.classifier.load_state_dict(state.kept_weights)
        return Trained(state.classifier.eval(), state.history, state.kept)


@dataclass
class _State:
    """Everything that changes from epoch to epoch."""

    classifier: Classifier
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    history: list[Epoch]
    kept_weights: dict[str, Tensor]

    @classmethod
    def start(cls, card: Card, options: Train, device: torch.device) -> "_State":
        classifier = Classifier(card).to(device)
        try:
            loss = getattr(nn, options.loss.name)(**options.loss.arguments, reduction="sum")
            optimizer = getattr(torch.optim, options.optimizer.name)(
                classifier.parameters(), **options.optimizer.arguments
            )
            schedule = _schedule(optimizer, options)
        except (TypeError, ValueError) as error:
            raise TrainingError(
                f"train.optimizer, train.schedule or train.loss was refused by torch: {error}"
            ) from None
        return cls(classifier, loss, optimizer, schedule, [], {})

    @property
    def kept(self) -> Epoch:
        return self.history[int(self._kept_index)]

    _kept_index: int = -1

    def record(self, epoch: Epoch, *, keep_best: bool) -> None:
        """Add an epoch; copy the weights if they are the ones to keep."""
        self.history.append(epoch)
        if not keep_best or _better(epoch, self.kept if self.kept_weights else None):
            self._kept_index = len(self.history) - 1
            self.kept_weights = copy.deepcopy(self.classifier.state_dict())

    def dump(self) -> dict[str, Any]:
        return {
            "weights": self.classifier.state_dict(),
            "kept_weights": self.kept_weights,
            "kept_index": self._kept_index,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "history": [epoch._asdict() for epoch in self.history],
        }

    def restore(self, dumped: dict[str, Any]) -> None:
        self.classifier.load_state_dict(dumped["weights"])
        self.kept_weights, self._kept_index = dumped["kept_weights"], dumped["kept_index"]
        self.optimizer.load_state_dict(dumped["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(dumped["schedule"])
        self.history = [Epoch(**values) for values in dumped["history"]]


def _better(epoch: Epoch, than: Epoch | None) -> bool:
    """Higher validation accuracy; between equals, lower validation loss."""
    assert epoch.val_accuracy is not None and epoch.val_loss is not None
    if than is None:
        return True
    assert than.val_accuracy is not None and than.val_loss is not None
    return (epoch.val_accuracy, -epoch.val_loss) > (than.val_accuracy, -than.val_loss)


def _schedule(optimizer: torch.optim.Optimizer, options: Train) -> torch.optim.lr_scheduler.LRScheduler | None:
    if options.schedule is None:
        return None
    arguments = options.schedule.arguments
    if options.schedule.name == "CosineAnnealingLR":
        arguments = {"T_max": options.epochs} | arguments
    schedule: torch.optim.lr_scheduler.LRScheduler = getattr(torch.optim.lr_scheduler, options.schedule.name)(
        optimizer, **arguments
    )
    return schedule


def _seed(seed: int, epoch: int) -> None:
    """Set torch's (forked) random state for an epoch; 0 is the drawing of the first weights."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint32)[0]))


def _run_epoch(
    state: _State, number: int, train: Subset, val: Subset, options: Train, device: torch.device, bar: "tqdm[Any]"
) -> Epoch:
    lr = float(state.optimizer.param_groups[0]["lr"])
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16")
    totals = torch.zeros(2, dtype=torch.float64, device=device)  # loss, correct
    state.classifier.train()
    for rows in shuffled_batches(train.rows, options.batch_size, (options.seed, number)):
        pixels, labels = load_batch(train, rows, device)
        with autocast:
            logits = state.classifier(pixels)
        loss = state.loss(logits.float(), labels)
        state.optimizer.zero_grad(set_to_none=True)
        (loss / len(rows)).backward()
        state.optimizer.step()
        totals += torch.stack([loss.detach().double(), (logits.argmax(dim=1) == labels).sum().double()])
        bar.update(len(rows))
    if state.schedule:
        state.schedule.step()
    train_loss, train_accuracy = (totals / len(train)).tolist()
    if not math.isfinite(train_loss):
        raise TrainingError(
            f"the loss is {train_loss} in epoch {number}; lower train.optimizer.lr = {options.optimizer.lr:g}."
        )
    val_loss, val_accuracy = validate(state.classifier, state.loss, val, options, device) if len(val) else (None, None)
    bar.set_postfix_str(
        f"epoch {number}/{options.epochs} loss {train_loss:.4f} accuracy {train_accuracy:.4f}"
        + (f" val {val_accuracy:.4f}" if val_accuracy is not None else "")
    )
    return Epoch(number, train_loss, train_accuracy, val_loss, val_accuracy, lr)


@torch.inference_mode()
def validate(
    classifier: Classifier, loss: nn.Module, val: Subset, options: Train, device: torch.device
) -> tuple[float, float]:
    """(loss, accuracy) over the rows of `val`: sums over all rows, divided once."""
    classifier.eval()
    totals = torch.zeros(2, dtype=torch.float64, device=device)
    for start in range(0, len(val), options.batch_size):
        pixels, labels = load_batch(val, val.rows[start : start + options.batch_size], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            logits = classifier(pixels)
        totals += torch.stack([loss(logits.float(), labels).double(), (logits.argmax(dim=1) == labels).sum().double()])
    mean_loss, accuracy = (totals / len(val)).tolist()
    return mean_loss, accuracy


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
    """(pixels uint8 [n,C,H,W], labels int64 [n]) of rows of a subset, on the device."""
    return _to(device, subset.images[rows]), _to(device, subset.labels[rows])


def _to(device: torch.device, values: npt.NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _bar(total: int, done: int) -> "tqdm[Any]":
    return tqdm(
        total=total, initial=done, desc="train", unit="image", unit_scale=True, disable=None, dynamic_ncols=True
    )
