"""plots/map.png: the test images in two dimensions, similar ones side by side as the network sees them."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from imagetrail import drawing
from imagetrail.evaluate.inference import Predictions
from imagetrail.files.arrays import Indices, Subset
from imagetrail.model import devices
from imagetrail.model.classifier import Classifier
from imagetrail.model.embedding import Features, embed

POINTS = 500
"""Images, spread over the test rows."""
COLOURED = 20
"""Largest number of classes with a colour."""
PICTURE_ON_MAP = 32
"""Pixels of the longer side of a picture on the map."""
APART = 0.055
"""Least distance of two pictures, as a share of the map's side."""
DECIMALS = 3
"""Of a place on the map, from 0 to 1: libraries of linear algebra differ in their last bits."""
AT_ONCE = 64
Colour = tuple[float, float, float]
ONE_COLOUR: Colour = (0.45, 0.45, 0.45)


def draw(path: Path, model: Classifier, test: Subset, predictions: Predictions, threads: int) -> None:
    """Draw the images by the first two principal components of their features.

    Args:
        path: of the PNG.
        model: in evaluation mode; moved to the CPU.
        test: the test rows.
        predictions: the model's answers for them.
        threads: of the CPU.
    """
    chosen = np.unique(np.linspace(0, len(test) - 1, POINTS).astype(np.int64))
    pixels = test.read(test.rows[chosen])
    with devices.repeatable(devices.CPU, threads):
        features = np.concatenate(
            list(embed(model, (pixels[s : s + AT_ONCE] for s in range(0, len(chosen), AT_ONCE)), devices.CPU))
        )
    places = principal(features)
    labels, wrong = predictions.labels[chosen], predictions.predicted[chosen] != predictions.labels[chosen]
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xticks=[], yticks=[])
    axes.set_title(f"{len(chosen)} of {len(test)} test images by the first two principal components of their features")
    colours = _colours(labels, predictions.classes)
    axes.scatter(places[:, 0], places[:, 1], s=22, color=colours)
    images = drawing.reduced(drawing.for_display(pixels), PICTURE_ON_MAP)
    zoom = 0.6 * PICTURE_ON_MAP / max(images.shape[1:3])
    for position in apart(places):
        picture = OffsetImage(images[position], zoom=zoom, interpolation="nearest")
        frame = {"edgecolor": colours[position], "linewidth": 2}
        axes.add_artist(AnnotationBbox(picture, places[position].tolist(), pad=0.1, bboxprops=frame))
    axes.scatter(
        places[wrong, 0], places[wrong, 1], s=90, facecolors="none", edgecolors="#c02020", linewidths=1.8, zorder=5,
        label="wrong answer",
    )  # fmt: skip
    if len(predictions.classes) <= COLOURED:
        for order, code in enumerate(drawing.naturally(predictions.classes)):
            axes.scatter([], [], s=22, color=_palette(predictions.classes)[order],
                         label=drawing.label(predictions.classes[code], 24))  # fmt: skip
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    drawing.save(figure, path)


def principal(features: Features) -> npt.NDArray[np.float64]:
    """Return the places of images, float64 [n,2] in [0, 1], by the first two principal components of features [n,D].

    Each component's sign makes its largest weight positive, so that equal features have equal places.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, scale, weights = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((len(features), 2))
    for number in range(min(2, len(scale))):
        sign = np.sign(weights[number, np.abs(weights[number]).argmax()])
        found[:, number] = sign * left[:, number] * scale[number]
    low, high = found.min(axis=0), found.max(axis=0)
    places: npt.NDArray[np.float64] = ((found - low) / np.maximum(high - low, np.finfo(np.float64).tiny)).round(
        DECIMALS
    )
    return places


def apart(places: npt.NDArray[np.float64]) -> list[int]:
    """Return the positions of places, [n,2], that keep APART from each other, the first come first."""
    chosen: list[int] = []
    for position, place in enumerate(places):
        if not chosen or np.abs(places[chosen] - place).max(axis=1).min() >= APART:
            chosen.append(position)
    return chosen


def _colours(labels: Indices, classes: list[str]) -> list[Colour]:
    """Return the colour of each label, int64 [n]; one for all of more than COLOURED classes."""
    if len(classes) > COLOURED:
        return [ONE_COLOUR] * len(labels)
    order = np.argsort(drawing.naturally(classes))
    palette = _palette(classes)
    return [palette[order[label]] for label in labels]


def _palette(classes: list[str]) -> list[Colour]:
    return list(mpl.colormaps["tab10" if len(classes) <= 10 else "tab20"].colors)  # type: ignore[attr-defined]
