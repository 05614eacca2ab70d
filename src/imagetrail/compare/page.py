"""Write the comparison as an HTML page that opens without a network."""

from collections.abc import Mapping
from pathlib import Path

from imagetrail import drawing
from imagetrail.compare.runs import Report, about, dash, intervals, shown
from imagetrail.errors import ArtifactError
from imagetrail.evaluate.paired import FIGURES, Comparison
from imagetrail.files import artifacts
from imagetrail.files.arrays import open_tensors
from imagetrail.pages import render

PICTURES = 60
"""Largest number of disagreements that a page shows."""


def write(report: Report, path: Path, root: Path) -> None:
    """Write the page, with the images on which the models differ, if data/tensors holds them."""
    pictures = _pictures(report, root)
    values = {
        "title": " and ".join(report.names),
        "ledger": report.ledger,
        "names": report.names,
        "parameters": [[name, *map(dash, values)] for name, values in report.parameters.items()],
        "comparisons": [
            _values(f"{name} against {report.names[0]}", found, pictures)
            for name, found in zip(report.names[1:], report.comparisons, strict=True)
        ],
    }
    render.write(path, "comparison.html", values)


def _values(title: str, found: Comparison, pictures: Mapping[str, str]) -> dict[str, object]:
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
                "picture": pictures.get(one.image),
                "words": f"{one.label}: {one.first} {one.first_confidence:.2f} → "
                f"{one.second} {one.second_confidence:.2f}",
            }
            for one in found.disagreements[:PICTURES]
        ],
        "more": len(found.disagreements) - PICTURES,
    }


def _pictures(report: Report, root: Path) -> dict[str, str]:
    """Return images by name as data URLs; empty if data/tensors holds other data."""
    try:
        dataset, images, _ = open_tensors(root)
    except ArtifactError:
        return {}
    if dataset.sha256[:8] != report.digest:
        return {}
    wanted = {d.image for found in report.comparisons for d in found.disagreements[:PICTURES]}
    rows = {row.image: number for number, row in enumerate(artifacts.read_tensor_rows(root)) if row.image in wanted}
    return {name: render.picture(drawing.for_display(images[[number]])[0]) for name, number in rows.items()}
