"""plots/data.png: a data set on one page, where wrong labels and duplicates are easy to see."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure

from imagetrail import drawing
from imagetrail.files import artifacts
from imagetrail.files.arrays import Indices, Pixels, open_tensors
from imagetrail.files.artifacts import Dataset, Finding

CLASSES = 12
"""Largest number of classes with examples."""
BARS = 40
IMAGES = 12
"""Images of a class."""
PAIRS = 6
"""Findings of a kind."""
SIDE_COLOURS = (
    ("", "all", "#4878a8"),
    ("train", "train", "#4878a8"),
    ("val", "val", "#8fb04a"),
    ("test", "test", "#e07b39"),
)


def draw(path: Path, root: Path, sizes: Indices) -> None:
    """Draw class balance, sizes, images of each class, and findings.

    Args:
        path: of the PNG.
        root: the repository's root; data/tensors is read.
        sizes: int64 [N,2], height and width of each image before resizing.
    """
    dataset, images, labels = open_tensors(root)
    findings: dict[str, list[Finding]] = {}
    for finding in artifacts.read_findings(root):
        findings.setdefault(finding.kind, []).append(finding)
    shown = {name for found in findings.values() for f in found[:PAIRS] for name in (f.image, f.other)}
    counts: Counter[tuple[str, str]] = Counter()
    numbers: dict[str, int] = {}
    for number, row in enumerate(artifacts.read_tensor_rows(root)):
        counts[row.label, row.split] += 1
        if row.image in shown:
            numbers[row.image] = number
    classes = min(len(dataset.classes), CLASSES)
    heights = [3.4, 0.85 * classes * drawing.steepness(dataset.image_size) + 0.5, *([1.6] * len(findings))]
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    parts = [figure.add_subfigure(grid[index]) for index in range(len(heights))]
    _overview(parts[0], dataset, counts, sizes)
    _classes(parts[1], dataset, images, labels)
    for part, (kind, found) in zip(parts[2:], findings.items(), strict=True):
        _findings(part, kind, found, images, numbers)
    drawing.save(figure, path)


def _overview(part: SubFigure, dataset: Dataset, found: Mapping[tuple[str, str], int], sizes: Indices) -> None:
    left, right = part.subplots(1, 2, width_ratios=[2, 1])
    names = dataset.classes[:BARS]
    base = np.zeros(len(names))
    for side, label, colour in SIDE_COLOURS:
        counts = np.array([found.get((name, side), 0) for name in names])
        if counts.any():
            left.bar(range(len(names)), counts, bottom=base, color=colour, label=label)
            base += counts
    labels = [*map(drawing.label, names)]
    left.set_xticks(range(len(names)), labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    more = len(dataset.classes) - len(names)
    title = f"{dataset.shape[0]:,} images of {len(dataset.classes)} classes"
    left.set_title(title + (f", {more} not shown" if more else ""))
    if any(side for _, side in found):
        left.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    drawing.plain(left)
    shapes, counts = np.unique(sizes, axis=0, return_counts=True)
    right.scatter(shapes[:, 1], shapes[:, 0], s=12 + 200 * counts / counts.max(), alpha=0.4, color="#4878a8", lw=0)
    _, _, height, width = dataset.shape
    right.plot([width], [height], "x", color="#e07b39", label="size of the tensors")
    right.set(xlabel="width", ylabel="height", xlim=(0, None), ylim=(0, None), title="original sizes in pixels")
    right.legend(frameon=False, loc="lower right")
    drawing.plain(right)


def _classes(part: SubFigure, dataset: Dataset, images: Pixels, labels: Indices) -> None:
    """Draw images spread over each class, one line per class."""
    lines = []
    for label in range(min(len(dataset.classes), CLASSES)):
        members = np.flatnonzero(labels == label)
        lines.append(images[members[:: -(-len(members) // IMAGES)][:IMAGES]])
    axes = part.subplots()
    drawing.gallery(axes, lines, dataset.classes[:CLASSES], IMAGES)
    more = len(dataset.classes) - CLASSES
    axes.set_title("examples of each class" + (f", {more} classes not shown" if more > 0 else ""))


def _findings(
    part: SubFigure, kind: str, findings: Sequence[Finding], images: Pixels, numbers: Mapping[str, int]
) -> None:
    """Draw the first findings of a kind, each beside the image that it resembles."""
    more = len(findings) - PAIRS
    part.suptitle(f"{kind}: {len(findings)}" + (f", {more} not shown" if more > 0 else ""), color="#b03030")
    grid = part.subplots(1, 2 * PAIRS)
    shown = [[numbers[name] for name in (finding.image, finding.other) if name] for finding in findings[:PAIRS]]
    width = max(len(pair) for pair in shown)
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, number in zip(grid, [number for pair in shown for number in pair], strict=False):
        axes.imshow(drawing.for_display(images[[number]])[0], interpolation="nearest")
    for index, finding in enumerate(findings[:PAIRS]):
        grid[index * width].set_title(drawing.label(finding.image[-28:]), fontsize=6, loc="left")
        grid[index * width].set_xlabel(drawing.label(finding.detail), fontsize=6, loc="left")
