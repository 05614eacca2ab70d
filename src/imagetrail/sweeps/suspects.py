"""Find labels that are probably wrong, from the answers of cross-validation, and show them on a page.

Confident learning (Northcutt, Jiang and Chuang, JAIR, 2021), by cleanlab.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from imagetrail import drawing
from imagetrail.files import artifacts
from imagetrail.files.arrays import open_tensors
from imagetrail.pages import render
from imagetrail.sweeps.held_out import HeldOut

TABLE, PAGE = "suspects.csv", "suspects.html"
ON_PAGE = 100
"""Suspects on the page."""
PICTURE_SIDE = 160
"""Pixels of the longer side of a picture on the page."""


class Suspect(NamedTuple):
    """A line of suspects.csv, the most suspicious first."""

    image: str
    label: str
    likely: str
    """What a model that had not seen the image takes it for."""
    label_probability: float
    likely_probability: float


def find(held_out: HeldOut) -> list[Suspect]:
    """Rank the images whose label is probably wrong, by the probability of their label."""
    from cleanlab.filter import find_label_issues  # with pandas, and only folds need it

    ranked = find_label_issues(
        held_out.labels, held_out.probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    likely = held_out.probabilities.argmax(axis=1)
    return [
        Suspect(
            held_out.images[row],
            held_out.classes[held_out.labels[row]],
            held_out.classes[likely[row]],
            round(float(held_out.probabilities[row, held_out.labels[row]]), 6),
            round(float(held_out.probabilities[row, likely[row]]), 6),
        )
        for row in ranked.tolist()
    ]


def write(folder: Path, found: Sequence[Suspect], held_out: HeldOut, root: Path, corrections: str) -> list[Path]:
    """Write suspects.csv and suspects.html.

    Args:
        folder: where they go.
        found: the suspects.
        held_out: all answers.
        root: of the data, whose pictures the page holds.
        corrections: the file that takes corrections, from the repository's root.

    Returns:
        Both files.
    """
    artifacts.write_rows(folder / TABLE, Suspect._fields, found)
    shown = found[:ON_PAGE]
    near = {(one.image, label): held_out.neighbours.get((one.image, label), []) for one in shown
            for label in (one.label, one.likely)}  # fmt: skip
    pictures = _pictures(root, {one.image for one in shown}.union(*near.values()))
    values = {
        "title": "Labels that are probably wrong",
        "about": f"{len(found):,} of {len(held_out.images):,} train and validation images: models that had not seen "
        "them take them for another class. The most suspicious come first.",
        "file": corrections,
        "more": len(found) - len(shown),
        "suspects": [
            one._asdict() | {
                "picture": pictures[one.image],
                "like_label": [pictures[name] for name in near[one.image, one.label]],
                "like_likely": [pictures[name] for name in near[one.image, one.likely]],
            }
            for one in shown
        ],
    }  # fmt: skip
    render.write(folder / PAGE, "suspects.html", values)
    return [folder / TABLE, folder / PAGE]


def _pictures(root: Path, names: set[str]) -> dict[str, str]:
    _, images, _ = open_tensors(root)
    rows = {row.image: number for number, row in enumerate(artifacts.read_tensor_rows(root)) if row.image in names}
    return {
        name: render.picture(drawing.reduced(drawing.for_display(images[[number]]), PICTURE_SIDE)[0])
        for name, number in rows.items()
    }
