"""plots/data.png and plots/findings.png: a data set, and what is odd in it, where wrong labels are easy to see."""

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
"""Largest number of classes with a bar."""
IMAGES = 12
"""Images of a class."""
PAIRS = 6
"""Findings of a kind."""
FINDING_WIDTH = 26
"""Columns of text above a finding."""
SIDE_COLOURS = (
    ("", "all", "#4878a8"),
    ("train", "train", "#4878a8"),
    ("val", "val", "#8fb04a"),
    ("test", "test", "#e07b39"),
)


def draw(path: Path, root: Path, sizes: Indices) -> None:
    """Draw class balance, sizes, and images of each class.

    Args:
        path: of the PNG.
        root: the repository's root; data/tensors is read.
        sizes: int64 [N,2], height and width of each image before resizing.
    """
    dataset, images, labels = open_tensors(root)
    counts = Counter((row.label, row.split) for row in artifacts.read_tensor_rows(root))
    shown = chosen(dataset.counts, CLASSES)
    heights = [3.4, 0.85 * len(shown) * drawing.steepness(dataset.image_size) + 0.5]
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=heights)
    _overview(figure.add_subfigure(grid[0]), dataset, counts, sizes)
    _classes(figure.add_subfigure(grid[1]), dataset, shown, images, labels)
    drawing.save(figure, path)


def draw_findings(path: Path, root: Path) -> None:
    """Draw the first findings of each kind; a sentence where there are none."""
    dataset, images, _ = open_tensors(root)
    found: dict[str, list[Finding]] = {}
    for finding in artifacts.read_findings(root):
        found.setdefault(finding.kind, []).append(finding)
    names = {name for findings in found.values() for f in findings[:PAIRS] for name in (f.image, f.other)}
    numbers = {row.image: n for n, row in enumerate(artifacts.read_tensor_rows(root)) if row.image in names}
    tall = 1.1 + 0.9 * drawing.steepness(dataset.image_size)
    figure = Figure(figsize=(12, max(1.0, tall * len(found))), layout="constrained")
    if not found:
        figure.text(0.5, 0.5, f"nothing odd among {dataset.shape[0]:,} images", ha="center", va="center")
    grid = figure.add_gridspec(max(1, len(found)), 1)
    for line, (kind, findings) in enumerate(found.items()):
        _findings(figure.add_subfigure(grid[line]), kind, findings, images, numbers)
    drawing.save(figure, path)


def chosen(counts: Mapping[str, int], number: int) -> list[str]:
    """Choose the classes to show: all as people count them, or the most and the least frequent, in this order."""
    names = list(counts)
    if len(names) <= number:
        return [names[position] for position in drawing.naturally(names)]
    ranked = sorted(names, key=lambda name: -counts[name])
    return [*ranked[: number - number // 3], *ranked[-(number // 3) :]]


def _overview(part: SubFigure, dataset: Dataset, found: Mapping[tuple[str, str], int], sizes: Indices) -> None:
    left, right = part.subplots(1, 2, width_ratios=[2, 1])
    names = chosen(dataset.counts, BARS)
    base = np.zeros(len(names))
    for side, label, colour in SIDE_COLOURS:
        counts = np.array([found.get((name, side), 0) for name in names])
        if counts.any():
            left.bar(range(len(names)), counts, bottom=base, color=colour, label=label)
            base += counts
    labels = [drawing.label(name, 20) for name in names]
    left.set_xticks(range(len(names)), labels, rotation=45, ha="right", rotation_mode="anchor",
                    fontsize=8 if len(names) <= BARS // 2 else 6)  # fmt: skip
    left.set_xlim(-0.7, len(names) - 0.3)
    title = f"{dataset.shape[0]:,} images of {len(dataset.classes):,} classes"
    if len(dataset.classes) > len(names):
        title += f": the {len(names) - BARS // 3} most and the {BARS // 3} least frequent"
        left.axvline(len(names) - BARS // 3 - 0.5, color="grey", lw=0.8, ls=":")
    corrected = "".join(f", {count:,} {what}" for what, count in dataset.corrections.items() if count)
    left.set_title(title + corrected, loc="left")
    if any(side for _, side in found):
        left.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8)
    drawing.plain(left)
    shapes, counts = np.unique(sizes, axis=0, return_counts=True)
    right.scatter(shapes[:, 1], shapes[:, 0], s=12 + 200 * counts / counts.max(), alpha=0.4, color="#4878a8", lw=0)
    _, _, height, width = dataset.shape
    right.plot([width], [height], "x", color="#e07b39", label="size of the tensors")
    right.margins(0.1)
    right.set(xlabel="width", ylabel="height", xlim=(0, None), ylim=(0, None), title="original sizes in pixels")
    right.legend(frameon=False, loc="lower right")
    drawing.plain(right)


def _classes(part: SubFigure, dataset: Dataset, shown: Sequence[str], images: Pixels, labels: Indices) -> None:
    """Draw images spread over each class, one line per class."""
    lines = []
    for name in shown:
        members = np.flatnonzero(labels == dataset.classes.index(name))
        lines.append(images[members[:: -(-len(members) // IMAGES)][:IMAGES]])
    axes = part.subplots()
    drawing.gallery(axes, lines, shown, IMAGES)
    more = len(dataset.classes) - len(shown)
    axes.set_title("examples of each class" + (f", {more:,} classes not shown" if more > 0 else ""))


def _findings(
    part: SubFigure, kind: str, findings: Sequence[Finding], images: Pixels, numbers: Mapping[str, int]
) -> None:
    """Draw the first findings of a kind, each beside the image that it resembles."""
    more = len(findings) - PAIRS
    part.suptitle(f"{kind}: {len(findings):,}" + (f", {more:,} not shown" if more > 0 else ""), color="#b03030")
    width = 2 if findings[0].other else 1
    grid = part.subplots(1, PAIRS * width, squeeze=False)[0]
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for index, finding in enumerate(findings[:PAIRS]):
        first = grid[index * width]
        for axes, name in zip(grid[index * width :], [finding.image, finding.other][:width], strict=False):
            axes.imshow(drawing.for_display(images[[numbers[name]]])[0], interpolation="nearest")
        first.set_title(drawing.label(finding.image, FINDING_WIDTH), fontsize=6, loc="left")
        first.set_xlabel(drawing.label(finding.detail, FINDING_WIDTH), fontsize=6, loc="left")
