"""Write the comparison as an HTML page that opens without a network."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imagetrail import drawing
from imagetrail.compare.runs import Report, dash, intervals, shown
from imagetrail.errors import ArtifactError
from imagetrail.evaluate.paired import FIGURES, Comparison
from imagetrail.files import artifacts
from imagetrail.files.arrays import open_tensors

PICTURES = 60
"""Largest number of disagreements that a page shows."""


def write(report: Report, path: Path, root: Path) -> None:
    """Write the page, with the images on which the models differ, if data/tensors holds them."""
    pictures = _pictures(report, root)
    parts = [_table(["parameter", *report.names], ([n, *map(dash, v)] for n, v in report.parameters.items()))]
    for name, found in zip(report.names[1:], report.comparisons, strict=True):
        parts += [
            f"<h2>{html.escape(name)} against {html.escape(report.names[0])}</h2>",
            f"<p>{found.n} test images in both runs; only the first is correct on {found.only_first}, "
            f"only the second on {found.only_second}: {html.escape(found.verdict())}. "
            f"{html.escape(intervals(found))}</p>",
            _table(
                ["figure", "first", "second", "difference"],
                ([figure, *map(shown, found.figures[figure])] for figure in FIGURES),
            ),
            _table(
                ["recall of", "first", "second", "change"],
                ([n, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}"] for n, (a, b) in found.recalls.items()),
            ),
            _gallery(found, pictures),
        ]
    title = " and ".join(map(html.escape, report.names))
    about = html.escape(report.ledger)
    with artifacts.writing(path) as temporary:
        temporary.write_text(PAGE.format(title=title, about=about, body="\n".join(parts)), encoding="utf-8")


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
    return {name: _data_address(drawing.for_display(images[[number]])[0]) for name, number in rows.items()}


def _table(header: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    if not lines:
        return "<p>All logged parameters are equal.</p>"
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _gallery(found: Comparison, pictures: Mapping[str, str]) -> str:
    cells = []
    for one in found.disagreements[:PICTURES]:
        better = "second" if one.second == one.label else "first"
        picture = f'<img src="{pictures[one.image]}" alt="">' if one.image in pictures else ""
        words = f"{one.label}: {one.first} {one.first_confidence:.2f} → {one.second} {one.second_confidence:.2f}"
        cells.append(
            f'<figure class="{better}">{picture}<figcaption>{html.escape(one.image)}<br>{html.escape(words)}'
            "</figcaption></figure>"
        )
    more = len(found.disagreements) - len(cells)
    note = f"<p>{more} more are not shown.</p>" if more > 0 else ""
    return f"<h3>Images that only one run classifies correctly</h3><div>{''.join(cells) or 'None.'}</div>{note}"


def _data_address(pixels: np.ndarray) -> str:
    """Encode uint8 [H,W,3] as a PNG in a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top }}
figure {{ display: inline-block; width: 9.5rem; margin: .3rem; padding: .4rem; font-size: 12px; vertical-align: top;
  border-left: 4px solid #e07b39; background: #fafafa }}
figure.second {{ border-color: #4878a8 }}
figcaption {{ overflow-wrap: anywhere }}
img {{ width: 100%; image-rendering: pixelated }}
</style></head><body><h1>{title}</h1>
<p>{about} Orange: only the first run is correct; blue: only the second.</p>
{body}
</body></html>
"""
