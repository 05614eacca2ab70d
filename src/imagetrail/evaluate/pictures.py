"""Draw the pictures of a training: curves, confusion, samples and mistakes. Equal inputs give equal PNG bytes."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from imagetrail import drawing
from imagetrail.evaluate.explanation import Explanation
from imagetrail.evaluate.inference import Predictions
from imagetrail.evaluate.metrics import bin_of, calibration_error
from imagetrail.files import artifacts
from imagetrail.files.arrays import Indices, Subset

TRAIN_COLOUR, VAL_COLOUR = "#4878a8", "#e07b39"
SAMPLES = 10
"""Images of each class in the sample gallery."""
CLASSES_SHOWN = 20
MISTAKE = 160
"""Pixels of the longer side of a mistake."""
NAME_WIDTH = 18
"""Characters above a mistake."""
NAMED_UP_TO = 110
"""Largest number of classes that the confusion matrix names; of more, every second, third, and so on."""
TEXT_UP_TO = 25
"""Largest number of classes for which the confusion matrix shows counts."""


def draw(
    plots: Path, predictions: Predictions, test: Subset, wrong: Indices, explained: Explanation | str, bins: int
) -> None:
    """Draw every picture of an evaluation into plots/, which holds history.csv.

    Args:
        plots: the folder.
        predictions: of the test rows.
        test: the test rows.
        wrong: int64 [m], positions of the mistakes to draw.
        explained: their heatmaps, or why there are none.
        bins: of the reliability diagram.
    """
    confusion_matrix(plots / "confusion_matrix.png", predictions)
    learning_curves(plots / "learning_curves.png", plots / "history.csv")
    reliability(plots / "reliability.png", predictions, bins)
    samples(plots / "samples.png", test)
    mistakes(plots / "mistakes.png", predictions, test, wrong, explained)


def learning_curves(path: Path, history: Path) -> None:
    """Draw loss and accuracy over the epochs, from plots/history.csv."""
    with artifacts.reading(history, "train"), history.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    epochs = [int(line["epoch"]) for line in lines]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, colour in (("train", TRAIN_COLOUR), ("val", VAL_COLOUR)):
            if values := [float(line[f"{part}_{quantity}"]) for line in lines if line[f"{part}_{quantity}"]]:
                axes.plot(epochs, values, color=colour, label=part, marker="o" if len(epochs) == 1 else None)
        axes.set(xlabel="epoch", title=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
        drawing.plain(axes)
    drawing.save(figure, path)


def confusion_matrix(path: Path, predictions: Predictions) -> None:
    """Draw true classes in rows, predicted ones in columns; colours are shares of the true class, numbers counts."""
    order = drawing.naturally(predictions.classes)
    classes = [predictions.classes[position] for position in order]
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (predictions.labels, predictions.predicted), 1)
    counts = counts[np.ix_(order, order)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.0, 0.5 * len(classes) + 1.5), 16.0)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    size = 9 if len(classes) <= TEXT_UP_TO else 5
    named = range(0, len(classes), -(-len(classes) // NAMED_UP_TO))
    names = [drawing.label(classes[position], 24) for position in named]
    axes.set_xticks(named, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(named, names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true", title=f"{np.trace(counts)} of {counts.sum()} test images correct")
    if len(classes) <= TEXT_UP_TO:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    drawing.save(figure, path)


def reliability(path: Path, predictions: Predictions, bins: int) -> None:
    """Draw how often answers are right against how sure the model was, and how many answers are how sure."""
    correct = predictions.predicted == predictions.labels
    sides = {"as trained": predictions.uncalibrated, "with temperature": predictions.confidence}
    if np.array_equal(predictions.uncalibrated, predictions.confidence):
        sides = {"": predictions.confidence}
    heights = {"height_ratios": [3, 1]}
    figure = Figure(figsize=(4.6 * len(sides) + 0.4, 5.0), layout="constrained")
    grid = figure.subplots(2, len(sides), squeeze=False, sharex=True, sharey="row", gridspec_kw=heights)
    for column, (title, confidence) in enumerate(sides.items()):
        index = bin_of(confidence, bins)
        count = np.bincount(index, minlength=bins)
        places, width = (np.arange(bins) + 0.5) / bins, 1 / bins
        above, below = grid[0, column], grid[1, column]
        right = np.bincount(index, weights=correct, minlength=bins) / np.maximum(count, 1)
        above.bar(places[count > 0], right[count > 0], width, color=TRAIN_COLOUR, edgecolor="white")
        above.plot([0, 1], [0, 1], color="#555555", linestyle="dashed", linewidth=1)
        error = calibration_error(confidence, correct, bins)
        above.set_title(f"{title}, calibration error {error:.4f}".removeprefix(", "))
        above.set(ylabel="share correct", ylim=(0, 1))
        below.bar(places, count, width, color="#bbbbbb", edgecolor="white")
        below.set(xlabel="confidence", ylabel="test images", xlim=(0, 1))
        for axes in (above, below):
            drawing.plain(axes)
    drawing.save(figure, path)


def samples(path: Path, subset: Subset) -> None:
    """Draw the first images of each class of a subset, one class per row."""
    labels = subset.labels[subset.rows]
    codes = drawing.naturally(subset.dataset.classes)[:CLASSES_SHOWN]
    shown = [subset.dataset.classes[code] for code in codes]
    lines = [subset.read(subset.rows[labels == code][:SAMPLES]) for code in codes]
    steepness = drawing.steepness(subset.dataset.image_size)
    figure = Figure(figsize=(9, 0.8 * len(shown) * steepness + 0.6), layout="constrained")
    axes = figure.subplots()
    drawing.gallery(axes, lines, shown, SAMPLES)
    more = len(subset.dataset.classes) - len(shown)
    axes.set_title("test images" + (f", {more} more classes not shown" if more else ""))
    drawing.save(figure, path)


def mistakes(
    path: Path, predictions: Predictions, subset: Subset, chosen: Indices, explained: Explanation | str
) -> None:
    """Draw wrong answers, each beside the heatmap of what the model answered.

    Args:
        path: of the PNG.
        predictions: of the subset's rows.
        subset: the rows.
        chosen: int64 [m], positions of the mistakes to draw.
        explained: their heatmaps, or why there are none.
    """
    heat = explained.heat if isinstance(explained, Explanation) else None
    wrong = int((predictions.predicted != predictions.labels).sum())
    title = f"{wrong} mistakes in {len(subset)} test images"
    if len(chosen) < wrong:
        title += f", the {len(chosen)} most confident"
    title += f"\n{explained}" if isinstance(explained, str) else "; beside each, what the answer comes from"
    width = 1 if heat is None else 2
    columns = min(8, max(4, len(chosen))) if heat is None else 4
    rows = max(1, -(-len(chosen) // columns))
    height = 1.75 * rows + 0.5
    figure = Figure(figsize=(1.45 * columns * width, height))
    figure.suptitle(title, y=1 - 0.1 / height, va="top", fontsize=11)
    places = {"left": 0.02, "right": 0.98, "bottom": 0.05 / height, "top": 1 - 0.9 / height, "hspace": 0.55,
              "wspace": 0.06}  # fmt: skip
    grid: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, gridspec_kw=places).ravel())
    for axes in grid:
        axes.set_axis_off()
    images = drawing.for_display(subset.read(predictions.rows[chosen]))
    tiles = images if heat is None else drawing.beside(images, drawing.heated(images, heat))
    for axes, position, tile in zip(grid, chosen, drawing.reduced(tiles, width * MISTAKE), strict=False):
        axes.imshow(tile, interpolation="nearest")
        true, guess = (
            drawing.label(predictions.classes[codes[position]], width * NAME_WIDTH)
            for codes in (predictions.labels, predictions.predicted)
        )
        arrow = " → " if len(true) + len(guess) < width * NAME_WIDTH - 2 else "\n→ "
        axes.set_title(f"{true}{arrow}{guess}\n{predictions.confidence[position]:.2f}", fontsize=8)
    drawing.save(figure, path)
