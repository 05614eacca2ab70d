"""Write predictions as they come: a table for people, or JSON Lines, CSV or Parquet for programs.

Every image has one line. In JSON Lines, CSV and Parquet, that of an image without a prediction holds its error.
"""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from imagetrail.errors import ParamsError, one_line, quoted
from imagetrail.evaluate.answers import CLASS_NAMES, DIGITS, GROUP, safe
from imagetrail.files import artifacts
from imagetrail.predict.classify import Prediction

Write = Callable[[Prediction], object]
PRINTED = 3
"""Classes in a line of the table and of CSV."""


def table(stream: IO[str]) -> Write:
    """Return a function that prints a line for people: image, label or labels, and the likeliest classes."""
    widths = [0, 0]

    def write(prediction: Prediction) -> None:
        if prediction.error is not None:
            return
        cells = one_line(prediction.image), " or ".join(map(one_line, prediction.labels or [str(prediction.label)]))
        widths[:] = (max(width, len(cell)) for width, cell in zip(widths, cells, strict=True))
        shares = "  ".join(f"{one_line(name)} {share:.4f}" for name, share in prediction.ranked(PRINTED))
        print(f"{cells[0]:<{widths[0]}}  {cells[1]:<{widths[1]}}  {shares}", file=stream)

    return write


def json_lines(stream: IO[str]) -> Write:
    """Return a function that prints a JSON object with the probabilities of all classes."""

    def write(prediction: Prediction) -> None:
        stream.write(json.dumps(fields(prediction), ensure_ascii=False) + "\n")

    return write


def fields(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON shows it: image, label, confidence, probabilities and labels, or image and error."""
    if prediction.probabilities is None:
        return {"image": prediction.image, "error": prediction.error}
    shares = prediction.probabilities.round(DIGITS).tolist()
    found = {
        "image": prediction.image, "label": prediction.label, "confidence": round(prediction.confidence or 0, DIGITS),
        "probabilities": dict(zip(prediction.classes, shares, strict=True)),
    }  # fmt: skip
    return found if prediction.labels is None else found | {"labels": prediction.labels}


@contextmanager
def file(path: Path, classes: list[str]) -> Iterator[Write]:
    """Write a file, which appears when the block has succeeded; its extension is its format.

    Args:
        path: ends in .jsonl, .csv or .parquet.
        classes: of the model.

    Raises:
        ParamsError: it ends in something else.
        ArtifactError: it cannot be written.
    """
    kinds = {".jsonl": _json_lines_file, ".csv": _csv_file, ".parquet": _parquet_file}
    if path.suffix.lower() not in kinds:
        raise ParamsError(f"--output = {quoted(str(path))} must end in {', '.join(kinds)}.")
    with artifacts.writing(path) as temporary, kinds[path.suffix.lower()](temporary, classes) as write:
        yield write


@contextmanager
def _json_lines_file(path: Path, _: list[str]) -> Iterator[Write]:
    # A name that is not UTF-8 gets an escape, which JSON reads back as that name.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
        yield json_lines(stream)


@contextmanager
def _csv_file(path: Path, classes: list[str]) -> Iterator[Write]:
    """Write names that are safe to open in a spreadsheet, as in predictions.csv."""
    header = ["image", "label", "confidence"]
    for place in ("second", "third")[: len(classes) - 1]:
        header += [place, f"{place}_confidence"]
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow([*header, "labels", "error"])

        def write(prediction: Prediction) -> None:
            cells = [cell for name, share in prediction.ranked(PRINTED) for cell in (safe(name), f"{share:.{DIGITS}f}")]
            cells += [""] * (len(header) - 1 - len(cells))
            labels = " | ".join(map(safe, prediction.labels or []))
            lines.writerow([safe(prediction.image), *cells, labels, safe(prediction.error or "")])

        yield write


@contextmanager
def _parquet_file(path: Path, classes: list[str]) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("image", pa.string()), ("label", pa.string()), ("confidence", pa.float64()),
         ("probabilities", pa.list_(pa.float64())), ("labels", pa.list_(pa.string())), ("error", pa.string())],
        {CLASS_NAMES: json.dumps(classes)},
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as file:

        def write(prediction: Prediction) -> None:
            name = prediction.image.encode("utf-8", "backslashreplace").decode()
            shares = None if prediction.probabilities is None else prediction.probabilities.round(DIGITS)
            rows.append({"image": name, "label": prediction.label, "confidence": prediction.confidence,
                         "probabilities": shares, "labels": prediction.labels, "error": prediction.error})  # fmt: skip
            if len(rows) == GROUP:
                flush()

        def flush() -> None:
            if rows:
                file.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()

        yield write
        flush()
