"""Draw train images as augmentation presents them to the network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from skimage.util import montage

from imagetrail import drawing
from imagetrail.files.arrays import Subset
from imagetrail.model.classifier import centre
from imagetrail.params.train import Augment
from imagetrail.train.augment import Augmentation

PREVIEW_COLUMNS = 10
"""Columns: each image, then as many augmented versions as fit."""


def augmented(
    path: Path, subset: Subset, transforms: Sequence[Augment], seed: int, seen: tuple[int, int] | None
) -> None:  # fmt: skip
    """Draw images of a subset, one per row: the original, then augmented versions; `seen` is Model.seen_size."""
    seen = seen or subset.dataset.image_size
    rows = np.random.default_rng(seed).permutation(subset.rows)[:PREVIEW_COLUMNS]
    images, labels = torch.from_numpy(subset.read(rows)) / 255, torch.from_numpy(subset.labels[rows])
    augment = Augmentation(transforms, len(subset.dataset.classes), seen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        versions = [images, *(augment(images, labels)[0] for _ in range(PREVIEW_COLUMNS - 1))]
    columns = [centre(version, seen) for version in versions]
    pixels = (torch.stack(columns, dim=1).clamp(0, 1) * 255).round().byte().numpy()  # [n,PREVIEW_COLUMNS,C,H,W]
    sheet = montage(
        drawing.for_display(pixels.reshape(-1, *pixels.shape[2:])),
        grid_shape=pixels.shape[:2],
        padding_width=1,
        fill=(255, 255, 255),
        channel_axis=-1,
    )
    figure = Figure(figsize=(8, 8 * len(rows) / PREVIEW_COLUMNS + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(f"train images (left) augmented by {', '.join(t.name for t in transforms)}", fontsize=9, wrap=True)
    drawing.save(figure, path)
