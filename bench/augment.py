"""Augmentation of a batch at once against the usual loop over its images, with the same affine transform."""

import statistics

import torch
from torchvision.transforms import v2

from bench.table import Row, interleaved, spread
from imagetrail.params.train import Augment
from imagetrail.train.augment import Augmentation

BATCH, ROUNDS, GOAL = 512, 7, 2
AFFINE = {"name": "RandomAffine", "degrees": 10.0, "translate": [0.1, 0.1], "scale": [0.9, 1.1], "p": 1.0}


def measure() -> list[Row]:
    """Time both in turn, on a batch of digits and a batch of small photographs."""
    return [_compare(1, 28), _compare(3, 64)]


def _compare(channels: int, side: int) -> Row:
    images, labels = torch.rand(BATCH, channels, side, side), torch.zeros(BATCH, dtype=torch.int64)
    whole = Augmentation([Augment.model_validate(AFFINE)], num_classes=2, seen=(0, 0))
    single = v2.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR)
    actions = {
        "batch": lambda: whole(images, labels),
        "loop": lambda: torch.stack([single(image) for image in images]),
    }
    interleaved(actions, rounds=1)  # warm up
    seconds = interleaved(actions, ROUNDS)
    ratio = statistics.median(seconds["loop"]) / statistics.median(seconds["batch"])
    measured = f"{spread(seconds['batch'])}, the loop {spread(seconds['loop'])}: {ratio:.0f} times"
    what = f"augmenting {BATCH} images of {channels}x{side}x{side} against torchvision's v2, image by image"
    return Row(what, measured, f"{GOAL} times", ratio >= GOAL)
