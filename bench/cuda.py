"""CUDA against the CPU, the classic loop and the bare loop: `python -m bench cuda FOLDER`, in less than eight minutes.

It runs from a bare checkout with torch 2.11 or newer and its torchvision; of the other packages it needs those of a
training alone: filelock, kornia, pydantic, ruamel.yaml, safetensors and tqdm. The images are made up. FOLDER gets the
table and the saved model.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import models, transforms

from bench import made_up
from bench.table import Row, show
from imagetrail.model import classifier, devices, feeds
from imagetrail.model.classifier import Classifier
from imagetrail.model.probabilities import of_batches
from imagetrail.train import features, loop, optimisation
from imagetrail.train.checkpoints import Checkpoints

WORKERS, ROUNDS = 16, 3
CLOSE, CLASSIC, BARE = 1e-4, 20.0, 0.95
"""Largest difference of a probability between the devices, and how many times as fast as each loop ours must be."""


@dataclass(frozen=True)
class Case:
    """A recipe's images, and how the classic loop augments them."""

    images: int
    channels: int
    side: int
    batch: int
    augment: list[Any]


CASES = {
    "mnist-cnn": Case(60_000, 1, 28, 512, [
        transforms.RandomApply([transforms.CenterCrop(22), transforms.Resize(28)], p=0.1),
        transforms.RandomRotation(15),
    ]),
    "cifar10-cnn": Case(50_000, 3, 32, 1024, [
        transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, 2, padding_mode="reflect"),
    ]),
    "cats-dogs-resnet50": Case(4_096, 3, 224, 64, []),
}  # fmt: skip


def measure(folder: str, device: str = "cuda", share: float = 1.0) -> list[Row]:
    """Return the table.

    Args:
        folder: gets cuda.md and models/.
        device: `cpu` tries the bench itself where no GPU is.
        share: of the images.
    """
    into, on = Path(folder), devices.choose(device)
    into.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for row in (*_correct(into, on, share), *_fast(on, share)):
        print(row, flush=True)
        rows.append(row)
    (into / "cuda.md").write_text(show(f"{devices.describe(on)}, torch {torch.__version__}", rows), encoding="utf-8")
    return rows


def _correct(into: Path, device: torch.device, share: float) -> Iterator[Row]:
    """Compare the devices, repeated trainings, both ways of feeding, and the saved model."""
    pixels, labels = made_up.images(int(8_192 * share), 1, 28)
    trained = _trained(pixels, labels, device)
    again = _trained(pixels, labels, device)
    yield Row("two trainings on the device", _sameness(trained, again), "equal weights", _equal(trained, again))
    always, feeds.RESIDENT = feeds.RESIDENT, 0.0
    ahead = _trained(pixels, labels, device)
    feeds.RESIDENT = always
    yield Row("images sent ahead or resident", _sameness(trained, ahead), "equal weights", _equal(trained, ahead))
    some = [pixels[:512]]
    (there,), (here,) = (of_batches(trained, some, on) for on in (device, torch.device("cpu")))
    difference = float(np.abs(there - here).max())
    yield Row("probabilities against the CPU's", f"{difference:.1e} apart", f"under {CLOSE:g}", difference < CLOSE)
    classifier.save(trained, into / "models")
    (answers,) = of_batches(classifier.load(into / "models"), some, device)
    difference = float(np.abs(answers - here).max())
    yield Row("the saved model, loaded", f"{difference:.1e} apart", f"under {CLOSE:g}", difference < CLOSE)


def _trained(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Classifier:
    task, options = made_up.training("mnist-cnn", pixels, labels, epochs=2, device=device.type)
    with tempfile.TemporaryDirectory() as folder:
        return loop.fit(task, options, Checkpoints(Path(folder)), lambda epoch, speed: None).classifier


def _equal(one: Classifier, other: Classifier) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def _sameness(one: Classifier, other: Classifier) -> str:
    return "equal weights" if _equal(one, other) else "other weights"


def _fast(device: torch.device, share: float) -> Iterator[Row]:
    """Time ours, the classic and the bare loop in turn."""
    for recipe, case in CASES.items():
        pixels, labels = made_up.images(int(case.images * share), case.channels, case.side)
        ways = {"ours": _ours, "classic": _classic, "bare": _bare}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                rates[name].append(way(recipe, case, pixels, labels, device))
        ours = statistics.median(rates["ours"])
        for name, goal in (("classic", CLASSIC), ("bare", BARE)):
            ratio = ours / statistics.median(rates[name])
            shown = f"{_shown(rates['ours'])} images a second, {name} {_shown(rates[name])}: {ratio:.2f} times"
            yield Row(f"{recipe} against the {name} loop", shown, f"{goal:g} times", ratio >= goal)


def _shown(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def _ours(recipe: str, case: Case, pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> float:
    task, options = made_up.training(
        recipe, pixels, labels, epochs=2, device=device.type, batch_size=case.batch, averaging=None
    )
    with tempfile.TemporaryDirectory() as folder:
        if options.augment is None:  # a frozen backbone
            classifier = Classifier(task.card).to(device)
            with devices.repeatable(device, options.threads):
                compute = partial(features.of_backbone, Path(folder), classifier, [task.train])
                return len(pixels) / _seconds(compute, device)
        speeds: list[float] = []
        loop.fit(task, options, Checkpoints(Path(folder)), lambda epoch, speed: speeds.append(speed or 0.0))
    return speeds[-1]


class _Images(TorchDataset[Any]):
    """PIL images, made for each access, then torchvision's transforms."""

    def __init__(self, case: Case, pixels: np.ndarray, labels: np.ndarray) -> None:
        self._pixels, self._labels = pixels, labels
        end = [transforms.ToTensor(), transforms.Normalize([0.5] * case.channels, [0.25] * case.channels)]
        self._transform = transforms.Compose([*case.augment, *end])

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self._pixels[index].transpose(1, 2, 0).squeeze())
        return self._transform(image), int(self._labels[index])


def _classic(recipe: str, case: Case, pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> float:
    """Time torchvision's transforms in a DataLoader's workers, and float32; a frozen backbone runs without gradient."""
    loader: DataLoader[Any] = DataLoader(
        _Images(case, pixels, labels), case.batch, shuffle=True, num_workers=WORKERS, pin_memory=device.type == "cuda",
        persistent_workers=True,
    )  # fmt: skip
    if case.augment:
        task, _ = made_up.training(recipe, pixels[:64], labels[:64])
        model = Classifier(task.card).network.to(device).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    else:
        model, optimizer = models.resnet50(num_classes=made_up.CLASSES).to(device).eval(), None
    loss = nn.CrossEntropyLoss()

    def epoch() -> None:
        for images, targets in loader:
            inputs, wanted = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            with torch.set_grad_enabled(optimizer is not None):
                answers = model(inputs)
            if optimizer is not None:
                optimizer.zero_grad()
                loss(answers, wanted).backward()
                optimizer.step()

    epoch()  # workers start, cuDNN chooses
    return len(pixels) / _seconds(epoch, device)


def _bare(recipe: str, case: Case, pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> float:
    """Time our network on batches that are on the device, without augmentation."""
    task, options = made_up.training(recipe, pixels, labels, batch_size=case.batch)
    model, loss = Classifier(task.card).to(device), nn.CrossEntropyLoss()
    everything = torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device)
    batches = list(zip(*(values.split(case.batch) for values in everything), strict=True))
    optimizer = None if model.frozen else optimisation.optimizer(options, model.parameters())
    model.train(optimizer is not None)

    def epoch() -> None:
        for images, targets in batches:
            with (
                torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"),
                torch.set_grad_enabled(optimizer is not None),
            ):
                answers = model(images)
            if optimizer is not None:
                optimizer.zero_grad()
                loss(answers.float(), targets).backward()
                optimizer.step()

    epoch()
    return len(pixels) / _seconds(epoch, device)


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
