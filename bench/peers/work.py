"""What all ways share: made-up images, the textbook networks, and the clock."""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

IMAGES = {"mnist-cnn": 6_144, "fashion-mlp": 30_016}
BATCH = {"mnist-cnn": 512, "fashion-mlp": 64}
CLASSES, SIDE, THREADS = 10, 28, 2
MEAN, STD = 0.1307, 0.3081
MAGNIFIED, ROTATED = 0.1, 15
"""Share of the images that are magnified by 28/22, and the largest rotation in degrees: mnist-cnn's augmentation."""


def asked() -> tuple[str, int]:
    """Return the recipe and the number of workers of the command line."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    return sys.argv[1], int(sys.argv[2])


def images(recipe: str) -> tuple[np.ndarray, np.ndarray]:
    """Make uint8 [N,28,28] and int64 [N]."""
    random = np.random.default_rng(0)
    count = IMAGES[recipe]
    return random.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8), random.integers(0, CLASSES, count)


def network(recipe: str) -> nn.Module:
    """Build the network as a textbook writes it."""
    if recipe == "fashion-mlp":
        layers = [nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, CLASSES)]
        return nn.Sequential(nn.Flatten(), *layers)
    convolutions = [
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Conv2d(128, 256, 3), nn.ReLU(), nn.MaxPool2d(2),
    ]  # fmt: skip
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(4096, 50), nn.ReLU(), nn.Linear(50, CLASSES))


def optimizer(recipe: str, model: nn.Module) -> torch.optim.Optimizer:
    """Build the recipe's optimizer with torch's defaults."""
    if recipe == "mnist-cnn":
        return torch.optim.SGD(model.parameters(), 0.0175, momentum=0.95)
    return torch.optim.AdamW(model.parameters(), 0.001)


def report(recipe: str, epoch: Callable[[], object]) -> None:
    """Run two epochs and print the second's images a second."""
    epoch()
    begin = time.perf_counter()
    epoch()
    print(IMAGES[recipe] / (time.perf_counter() - begin))
