"""The answers for the test rows: plots/predictions.parquet for programs, plots/predictions.csv for people.

The Parquet file holds exact names and all probabilities. The table holds the likeliest classes, with names that are
safe to open in a spreadsheet, at a terminal and on the page of `dvc plots show`, which puts them into a script.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from imagetrail.errors import printable
from imagetrail.evaluate.inference import Predictions
from imagetrail.files import artifacts
from imagetrail.files.arrays import Indices

EXACT, READABLE = "predictions.parquet", "predictions.csv"
DIGITS = 6
"""Decimals of a written probability: float32 sums differ in the seventh with the batch that an image is in."""
LIKELIEST = 3
"""Classes of a row in the table."""
CLASS_NAMES = b"classes"
"""Key of the class names in the file's metadata."""
FORMULA = ("=", "+", "-", "@")
"""First characters that make a spreadsheet compute a cell."""
NOT_MARKUP = str.maketrans("<>", "‹›")


@dataclass(frozen=True)
class Answers:
    """A model's answers, sorted by image."""

    images: list[str]
    classes: list[str]
    labels: Indices
    """int64 [n], true class indices."""
    predicted: Indices
    """int64 [n]."""
    confidence: npt.NDArray[np.float64]
    """float64 [n], of the predicted class."""
    truth: npt.NDArray[np.float64]
    """float64 [n], the probability of the true class."""

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Bool [n]."""
        right: npt.NDArray[np.bool_] = self.predicted == self.labels
        return right


def write(plots: Path, predictions: Predictions, names: Mapping[int, str]) -> None:
    """Write both files into plots/; `names` has the image of each row of the tensors."""
    images = [names[row] for row in predictions.rows.tolist()]
    _write_parquet(plots / EXACT, predictions, images)
    header = ["image", "label", "predicted", "confidence"]
    places = ("second", "third")[: min(LIKELIEST, len(predictions.classes)) - 1]
    header += [part for place in places for part in (place, f"{place}_confidence")]
    artifacts.write_rows(plots / READABLE, header, _lines(predictions, images, len(places) + 1))


def _write_parquet(path: Path, predictions: Predictions, images: list[str]) -> None:
    rounded = predictions.probabilities.round(DIGITS).astype(np.float32)
    columns = {
        "image": pa.array(images),
        "label": pa.array(predictions.labels),
        "predicted": pa.array(predictions.predicted),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(rounded.ravel()), len(predictions.classes)),
    }
    table = pa.table(columns).replace_schema_metadata({CLASS_NAMES: json.dumps(predictions.classes)})
    with artifacts.writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _lines(predictions: Predictions, images: list[str], likeliest: int) -> Iterator[list[str]]:
    names = [_safe(name) for name in predictions.classes]
    order = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :likeliest].tolist()
    for image, label, guesses, row in zip(images, predictions.labels, order, predictions.probabilities, strict=True):
        yield [_safe(image), names[label], *(t for g in guesses for t in (names[g], f"{row[g]:.{DIGITS}f}"))]


def _safe(name: str) -> str:
    """Return a name that no spreadsheet, terminal or page takes for a formula, a command or markup."""
    text = printable(name.replace("\n", "\\n")).translate(NOT_MARKUP)
    return f"'{text}" if text.startswith(FORMULA) else text


def read(path: Path) -> Answers:
    """Read predictions.parquet.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    with artifacts.reading(path, "evaluate"):
        table = pq.read_table(path)
        table = table.take(pa.array(np.argsort(table.column("image").to_numpy(), kind="stable")))
        classes = [str(name) for name in json.loads(table.schema.metadata[CLASS_NAMES])]
        labels, predicted = (table.column(name).to_numpy().astype(np.int64) for name in ("label", "predicted"))
        probabilities = table.column("probabilities").combine_chunks().flatten().to_numpy().astype(np.float64)
        probabilities = probabilities.reshape(len(labels), len(classes))
        codes = np.concatenate([labels, predicted])
        if (codes < 0).any() or (codes >= len(classes)).any():
            raise ValueError(f"it holds classes beyond its {len(classes)}")
        rows = np.arange(len(labels))
        return Answers(
            images=table.column("image").to_pylist(),
            classes=classes,
            labels=labels,
            predicted=predicted,
            confidence=probabilities[rows, predicted],
            truth=probabilities[rows, labels],
        )
