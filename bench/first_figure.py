"""Time to a figure: `python -m bench first-figure FOLDER`, with torchvision's files below FOLDER/mnist and so on.

The whole pipeline as one `dvc repro` in a fresh clone, start-up and evaluation included, beside the least time that the
processor's matrix products would need for the multiply-adds of the training.
"""

import time
from pathlib import Path
from typing import NamedTuple

import torch

from bench.clone import fresh, run
from bench.table import Row
from imagetrail.files import artifacts
from imagetrail.params import overrides

SIDE, PRODUCTS = 4096, 8


class Figure(NamedTuple):
    """A set, the accuracy to reach on its test images, and settings that reach it soon."""

    source: str
    folder: str
    accuracy: float
    changes: tuple[str, ...]


COMMON = (
    "preprocess.image_size=28", "split.val=0", "model.dropout=0.0", "train.arithmetic=native",
    "train.precision=bfloat16", "train.batch_size=128", "train.optimizer.lr=0.005",
    "train.schedule.name=OneCycleLR", "+train.schedule.pct_start=0.2",
)  # fmt: skip
FIGURES = (
    Figure("MNIST", "mnist", 0.99, ("train.epochs=4", "model.widths=[24, 48, 96]")),
    Figure("FashionMNIST", "fashion-mnist", 0.91, ("train.epochs=7", "model.widths=[32, 64, 128]")),
)


def measure(folder: str) -> list[Row]:
    """Reach each figure once."""
    rate = _products_per_second()
    return [_reach(figure, Path(folder).absolute() / figure.folder, rate) for figure in FIGURES]


def _reach(figure: Figure, data: Path, rate: float) -> Row:
    with fresh() as clone:
        place = (f"download.source={figure.source}", f"download.path={data}")
        overrides.apply(clone, (*place, *COMMON, *figure.changes))
        begin = time.monotonic()
        run(clone, "dvc", "repro", "--quiet")
        seconds = time.monotonic() - begin
        trained, tested = artifacts.read_metrics(clone, "train"), artifacts.read_metrics(clone, "test")
    images = 60_000 * trained["epochs"]
    limit = 3 * images * trained["multiply_adds"] / rate  # forwards, and twice as much backwards
    return Row(
        f"{figure.accuracy:.0%} of {figure.source}'s test images, from nothing",
        f"{tested['accuracy']:.4f} after {seconds:.1f} s, of which matrix products at their peak take {limit:.1f} s",
        f"{figure.accuracy:.2f}",
        tested["accuracy"] >= figure.accuracy,
    )


def _products_per_second() -> float:
    """Measure the multiply-adds of large bfloat16 matrix products."""
    left, right = (torch.ones(SIDE, SIDE, dtype=torch.bfloat16) for _ in range(2))
    left @ right
    begin = time.monotonic()
    for _ in range(PRODUCTS):
        left @ right
    return PRODUCTS * SIDE**3 / (time.monotonic() - begin)
