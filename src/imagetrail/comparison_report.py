"""`imagetrail compare`: runs beside each other, as a table, as JSON and as a page that opens without a network."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imagetrail import artifacts, comparison, drawing
from imagetrail.comparison import FIGURES, LEVEL, Comparison, Interval
from imagetrail.errors import ArtifactError
from imagetrail.tracking import registry

INTERVALS = (
    f"Intervals of {LEVEL:.0%}: Wilson's for an accuracy, Tango's for the difference of two (it agrees with McNemar's "
    "test), percentiles of a bootstrap over the images for loss and macro F1."
)
PICTURES = 60
"""Images on which two models differ that a page shows."""


@dataclass(frozen=True)
class Report:
    """Some runs against the first of them."""

    runs: list[str]
    """Ids."""
    names: list[str]
    digest: str | None
    """Of the first run's data set; its first 8 digits."""
    parameters: Mapping[str, list[str | None]]
    """Those that differ: a value for each run, None where it has none."""
    comparisons: list[Comparison]
    """Every run but the first against the first."""

    def text(self) -> str:
        """For a terminal."""
        lines = []
        if self.parameters:
            lines += _columns([["parameter", *self.names], *([n, *map(_dash, v)] for n, v in self.parameters.items())])
        else:
            lines.append("All logged parameters are equal.")
        for name, found in zip(self.names[1:], self.comparisons, strict=True):
            lines += ["", f"{name} against {self.names[0]}, {found.n} test images both answered:"]
            rows = [["", self.names[0], name, "difference"]]
            rows += [[figure, *map(_shown, found.figures[figure])] for figure in FIGURES]
            lines += _columns(rows)
            lines.append(INTERVALS)
            lines.append(
                f"{found.only_first} images right in the first alone, {found.only_second} in the second alone: "
            )
            lines[-1] += found.verdict() + "."
            changed = {n: (a, b) for n, (a, b) in found.recalls.items() if a != b}
            if changed:
                lines += _columns(
                    [["recall of", "first", "second"], *([n, f"{a:.4f}", f"{b:.4f}"] for n, (a, b) in changed.items())]
                )
        return "\n".join(lines)

    def json(self) -> str:
        """Everything, for programs."""
        comparisons = [
            asdict(found) | {"figures": {n: [i._asdict() for i in three] for n, three in found.figures.items()},
                             "disagreements": [d._asdict() for d in found.disagreements]}
            for found in self.comparisons
        ]  # fmt: skip
        return json.dumps(
            {"runs": self.runs, "names": self.names, "parameters": dict(self.parameters), "comparisons": comparisons},
            indent=2, ensure_ascii=False,
        )  # fmt: skip

    def page(self, path: Path, root: Path) -> None:
        """Write an HTML page, with the pixels of the images on which the models differ where they are at hand."""
        pictures = self._pictures(root)
        parts = [_table(["parameter", *self.names], ([n, *map(_dash, v)] for n, v in self.parameters.items()))]
        for name, found in zip(self.names[1:], self.comparisons, strict=True):
            parts += [
                f"<h2>{html.escape(name)} against {html.escape(self.names[0])}</h2>",
                f"<p>{found.n} test images both answered; {found.only_first} are right in the first alone, "
                f"{found.only_second} in the second alone: {html.escape(found.verdict())}.</p>",
                _table(
                    ["figure", "first", "second", "difference"],
                    ([figure, *map(_shown, found.figures[figure])] for figure in FIGURES),
                ),
                _table(
                    ["recall of", "first", "second", "change"],
                    ([n, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}"] for n, (a, b) in found.recalls.items()),
                ),
                _gallery(found, pictures),
            ]
        title = " and ".join(map(html.escape, self.names))
        with artifacts.writing(path) as temporary:
            temporary.write_text(PAGE.format(title=title, intervals=INTERVALS, body="\n".join(parts)), encoding="utf-8")

    def _pictures(self, root: Path) -> dict[str, str]:
        """Images by name as data addresses; none where data/tensors is of other data."""
        try:
            dataset = artifacts.read_dataset(root)
        except ArtifactError:
            return {}
        if dataset.sha256[:8] != self.digest:
            return {}
        wanted = {d.image for found in self.comparisons for d in found.disagreements[:PICTURES]}
        images = np.load(root / artifacts.TENSORS / "images.npy", mmap_mode="r")
        rows = {row.image: number for number, row in enumerate(artifacts.read_tensor_rows(root)) if row.image in wanted}
        return {name: _data_address(drawing.for_display(images[[number]])[0]) for name, number in rows.items()}


def report(root: Path, references: Sequence[str]) -> Report:
    """Compare runs.

    Args:
        root: the repository's root.
        references: of the runs, two or more; see registry.find.

    Raises:
        ArtifactError: a run is not found or has no test figures.
        DataError: the runs cannot be compared.
    """
    runs = [registry.find(root, reference) for reference in references]
    first, *others = (registry.answers(root, run.info.run_id) for run in runs)
    every = {name: [run.data.params.get(name) for run in runs] for run in runs for name in run.data.params}
    inputs = runs[0].inputs
    return Report(
        runs=[run.info.run_id for run in runs],
        names=[f"{run.info.run_name} ({run.info.run_id[:6]})" for run in runs],
        digest=inputs.dataset_inputs[0].dataset.digest if inputs and inputs.dataset_inputs else None,
        parameters={name: values for name, values in sorted(every.items()) if len({*map(_unquoted, values)}) > 1},
        comparisons=[comparison.compare(first, other) for other in others],
    )


def _unquoted(value: str | None) -> str | None:
    """`mlflow run` logs what was typed with the shell's quotes."""
    return value if value is None else value.strip("'")


def _dash(value: str | None) -> str:
    return "–" if value is None else value


def _shown(interval: Interval) -> str:
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _table(header: Sequence[str], rows: object) -> str:
    assert hasattr(rows, "__iter__")
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
    return f"<h3>Images that one of them gets right</h3><div>{''.join(cells) or 'None.'}</div>{note}"


def _data_address(pixels: np.ndarray) -> str:
    """uint8 [H,W,3] as a PNG inside an address."""
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
<p>{intervals} Orange: only the first is right; blue: only the second.</p>
{body}
</body></html>
"""
