"""A recipe's training on made-up images."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagetrail.files.arrays import Subset
from imagetrail.files.artifacts import Dataset
from imagetrail.params import recipes
from imagetrail.params.load import parse_params
from imagetrail.params.train import Train
from imagetrail.train import normalisation
from imagetrail.train.loop import Task

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10


def images(count: int, channels: int, side: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Make uint8 [count,channels,side,side] and labels int64 [count]: a pattern for each, and noise."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, count)
    patterns = random.integers(0, 128, (CLASSES, channels, side, side), dtype=np.uint8)
    pixels = random.integers(0, 128, (count, channels, side, side), dtype=np.uint8)
    for number in range(CLASSES):  # in place, since a GPU's set is large
        pixels[labels == number] += patterns[number]
    return pixels, labels


def file(number: int, channels: int, size: tuple[int, int]) -> bytes:
    """Make a JPEG, or a PNG of one channel, of (width, height): a few random colours, enlarged."""
    rng, buffer = np.random.default_rng(number), io.BytesIO()
    few = rng.integers(0, 256, (12, 16, 3) if channels == 3 else (7, 7), dtype=np.uint8)
    Image.fromarray(few).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG" if channels == 3 else "PNG")
    return buffer.getvalue()


def training(
    recipe: str, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], **changes: object
) -> tuple[Task, Train]:
    """Build a recipe's training without validation rows, schedule, patience and pretrained weights.

    Args:
        recipe: its name.
        pixels: uint8 [N,C,H,W].
        labels: int64 [N].
        changes: of section `train`.
    """
    params = parse_params(recipes.loaded(recipes.render(ROOT, recipe)), recipe)
    dataset = Dataset(
        "made-up", [str(n) for n in range(CLASSES)], {}, list(pixels.shape), None, 0, {}, {}, "made-up", {}
    )
    train = Subset(dataset, pixels, labels, np.arange(len(pixels)))
    card = normalisation.new_card(params.model, None, params.train.normalisation, train)
    without = {"schedule": None, "keep": "last", "patience": None}
    options = params.train.model_copy(update=without | changes)
    return Task(card, None, train, replace(train, rows=train.rows[:0]), ROOT), options
