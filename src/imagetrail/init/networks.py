"""Which network fits the images, and how fast this machine trains it."""

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from imagetrail.files.arrays import Subset
from imagetrail.files.artifacts import Dataset
from imagetrail.model import classifier, devices
from imagetrail.model.classifier import Card
from imagetrail.params.load import Params
from imagetrail.train import loop
from imagetrail.train.checkpoints import Checkpoints

NARROWEST, NARROWEST_OF_SMALL, WIDEST = 16, 64, 256
"""Channels of the first block for images of USUAL_SIDE pixels and for the smallest ones, and of the widest block: the
first works at full size, where channels cost most."""
USUAL_SIDE = 64
LAST_SIDE = 4
"""Pixels of the short side that the last block sees."""
TIMED_IMAGES = 256
"""Made-up images that are trained on to measure the speed."""
TIMED_ROUNDS = 2
TIMED_FEATURES = 16
Precision = Literal["float32", "bfloat16"]
Network = dict[str, object]


def small_cnn(size: tuple[int, int]) -> Network:
    """Return a SmallCNN whose depth follows from the images' (height, width)."""
    side = min(size)
    blocks = max(1 if side < 2 else 2, int(math.log2(max(1, side / LAST_SIDE))) + 1)
    first = 2 ** round(math.log2(max(NARROWEST, min(NARROWEST_OF_SMALL, NARROWEST * USUAL_SIDE / side))))
    widths = [min(WIDEST, first * 2**block) for block in range(blocks)]
    return {"name": "SmallCNN", "weights": None, "widths": widths, "dropout": 0.2}


def backbone(folder: Path) -> tuple[str, str] | None:
    """Return (architecture, file) of the pretrained weights in a folder, the smallest file first; None without any."""
    from torchvision import models  # importing torchvision's models takes a second

    known = sorted(models.list_models(module=models), key=len, reverse=True)  # type: ignore[attr-defined]
    files = [path for path in folder.glob("*.*") if path.suffix in (".pth", ".pt", ".safetensors")]
    for path in sorted(files, key=lambda path: path.stat().st_size):
        for name in known:
            if path.name.startswith((f"{name}-", f"{name}.")):
                return name, path.name
    return None


def speeds(params: Params, classes: int, size: tuple[int, int]) -> dict[Precision, float]:
    """Measure how many made-up images a second this machine trains on in each precision, augmentation included.

    The best of some short rounds counts, taken in turns: other work on the machine only slows them.

    Args:
        params: whose network and training are measured.
        classes: number of classes.
        size: (height, width) in pixels.
    """
    random = np.random.default_rng(0)
    shape = (TIMED_IMAGES, params.preprocess.channels, *size)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    dataset = Dataset("made-up", [str(n) for n in range(classes)], {}, list(shape), None, 0, {}, {}, "", {})
    labels = random.integers(0, classes, TIMED_IMAGES)
    subset = Subset(dataset, images, labels, np.arange(TIMED_IMAGES))
    best: dict[Precision, float] = {"float32": 0.0, "bfloat16": 0.0}
    for precision in [*best] * TIMED_ROUNDS:
        update = {"epochs": 2, "keep": "last", "schedule": None, "averaging": None, "class_weights": None}
        update["precision"] = precision
        options = params.train.model_copy(update=update)
        with tempfile.TemporaryDirectory() as folder:
            task = loop.Task(_card(params, dataset), None, subset, replace(subset, rows=subset.rows[:0]), Path(folder))
            found = _Fastest()
            loop.fit(task, options, Checkpoints(Path(folder) / "none"), found.add)
        best[precision] = max(best[precision], found.speed)
    return best


class _Fastest:
    """Remembers the speed of the fastest epoch."""

    speed = 0.0

    def add(self, _: loop.Epoch, images_per_second: float | None) -> None:
        self.speed = max(self.speed, images_per_second or 0.0)


def feature_speed(params: Params, classes: int) -> float:
    """Measure how many images a second a backbone computes the features of."""
    size = params.preprocess.size
    assert size is not None, "init states it"
    shape = [TIMED_FEATURES, 3, *size]
    dataset = Dataset("made-up", [str(n) for n in range(classes)], {}, shape, None, 0, {}, {}, "", {})
    device = devices.choose(params.train.device)
    with devices.repeatable(device, params.train.threads), torch.inference_mode():
        model = classifier.Classifier(_card(params, dataset)).eval().to(device)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        model(images)
        begin = time.perf_counter()
        model(images).cpu()
        return TIMED_FEATURES / (time.perf_counter() - begin)


def _card(params: Params, dataset: Dataset) -> Card:
    channels = dataset.channels
    return Card(
        name=params.model.name, arguments=params.model.arguments, weights=None, classes=dataset.classes,
        channels=channels, image_size=list(dataset.image_size), short_side=None, mean=[0.5] * channels,
        std=[0.25] * channels, parameters=0, sha256="",
    )  # fmt: skip
