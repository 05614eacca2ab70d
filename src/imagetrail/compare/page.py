"""Write the comparison as an HTML page that opens without a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from imagetrail import drawing
from imagetrail.compare.runs import Report, about, dash, intervals, shown
from imagetrail.errors import ArtifactError, DataError
from imagetrail.evaluate.paired import FIGURES, Comparison
from imagetrail.files import artifacts
from imagetrail.files.arrays import Pixels, open_tensors
from imagetrail.model.classifier import Classifier
from imagetrail.model.heatmaps import heatmaps
from imagetrail.pages import render

PICTURES = 60
"""Largest number of disagreements that a page shows."""
PICTURE = 160
"""Pixels of the longer side of a picture."""


def write(report: Report, path: Path, root: Path, models: Sequence[Classifier | None]) -> None:
    """Write the page, with the images on which the models differ, if data/tensors holds them.

    Args:
        report: the comparison.
        path: of the page.
        root: of the data.
        models: of the runs; None where there is not one, and the page then shows no heatmaps of that run.
    """
    shown_images = _images(report, root)
    values = {
        "title": " and ".join(report.names),
        "ledger": report.ledger,
        "names": report.names,
        "parameters": [[name, *map(dash, values)] for name, values in report.parameters.items()],
        "comparisons": [
            _values(f"{name} against {report.names[0]}", found, shown_images, (models[0], model))
            for name, found, model in zip(report.names[1:], report.comparisons, models[1:], strict=True)
        ],
    }
    render.write(path, "comparison.html", values)


def _values(
    title: str, found: Comparison, images: Mapping[str, Pixels], models: tuple[Classifier | None, Classifier | None]
) -> dict[str, object]:
    shown_ones = found.disagreements[:PICTURES]
    known = [one for one in shown_ones if one.image in images]
    answers = {one.image: one.first for one in known}, {one.image: one.second for one in known}
    heat = [_heat(model, given, images) for model, given in zip(models, answers, strict=True)]
    named = list(zip(("the first", "the second"), heat, strict=True))
    return {
        "title": title,
        "about": f"{about(found)} Only the first is correct on {found.only_first}, only the second on "
        f"{found.only_second}: {found.verdict()}. {intervals(found)}",
        "figures": [[figure, *map(shown, found.figures[figure])] for figure in FIGURES],
        "recalls": [[name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}"] for name, (a, b) in found.recalls.items()],
        "disagreements": [
            {
                "image": one.image,
                "better": "second" if one.second == one.label else "first",
                "pictures": [_address(images[one.image]), *(h[one.image] for h in heat if not isinstance(h, str))]
                if one.image in images
                else [],
                "words": f"{one.label}: {one.first} {one.first_confidence:.2f} → "
                f"{one.second} {one.second_confidence:.2f}",
            }
            for one in shown_ones
        ],
        "heated": " and ".join(word for word, h in named if not isinstance(h, str)),
        "unheated": [f"No heatmaps of {word}: {h}" for word, h in named if isinstance(h, str)] if known else [],
        "more": len(found.disagreements) - PICTURES,
    }


def _images(report: Report, root: Path) -> dict[str, Pixels]:
    """Return images by name, uint8 [1,C,H,W]; empty if data/tensors holds other data."""
    try:
        dataset, images, _ = open_tensors(root)
    except ArtifactError:
        return {}
    if dataset.sha256[:8] != report.digest:
        return {}
    wanted = {d.image for found in report.comparisons for d in found.disagreements[:PICTURES]}
    rows = {row.image: number for number, row in enumerate(artifacts.read_tensor_rows(root)) if row.image in wanted}
    return {name: images[[number]] for name, number in rows.items()}


def _heat(model: Classifier | None, answers: Mapping[str, str], images: Mapping[str, Pixels]) -> dict[str, str] | str:
    """Draw what a model's answers come from, by image; or say why that cannot be drawn."""
    if model is None:
        return "the run has no single model that can be read."
    if not answers:
        return {}
    pixels = np.concatenate([images[name] for name in answers])
    if pixels.shape[1:] != (model.card.channels, *model.card.image_size):
        return "its model takes images of another form."
    codes = np.array([model.card.classes.index(answer) for answer in answers.values()])
    try:
        heat = heatmaps(model, pixels, codes)
    except DataError as error:
        return str(error)
    drawn = drawing.reduced(drawing.heated(drawing.for_display(pixels), heat), PICTURE)
    return {name: render.picture(one) for name, one in zip(answers, drawn, strict=True)}


def _address(pixels: Pixels) -> str:
    return render.picture(drawing.reduced(drawing.for_display(pixels), PICTURE)[0])
