"""The answers for the test rows: plots/predictions.parquet for programs, plots/predictions.csv for people.

The Parquet file holds exact names and all probabilities. The table holds the likeliest classes, with names that are
safe to open in a spreadsheet, at a terminal and on the page of `dvc plots show`, which puts them into a script.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from imagetrail.errors import one_line
from imagetrail.evaluate import metrics
from imagetrail.evaluate.inference import Predictions
from imagetrail.files import artifacts
from imagetrail.files.arrays import Indices, Subset
from imagetrail.model.probabilities import Probabilities

EXACT, READABLE = "predictions.parquet", "predictions.csv"
DIGITS = 6
"""Decimals of a written probability: float32 sums differ in the seventh with the batch that an image is in."""
GROUP = 8192
"""Rows that are written at once."""
SCORES = 2**22
"""Largest number of probabilities that `auroc` holds."""
WANTED = ("image", "label", "predicted", "probabilities")
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


@contextmanager
def exact(
    plots: Path, subset: Subset, names: Mapping[int, str], columns: Mapping[str, Sequence[str]]
) -> Iterator[Callable[[Probabilities], None]]:
    """Write predictions.parquet: yield the function that takes all probabilities of the next rows, float64 [b,K].

    Args:
        plots: the folder.
        subset: the rows, in the order in which they come.
        names: the image of each row.
        columns: further values of the rows, by the name of their column.
    """
    classes, rows = subset.dataset.classes, iter(subset.rows.tolist())
    further = [iter(values) for values in columns.values()]
    schema = pa.schema(
        [("image", pa.string()), ("label", pa.int64()), ("predicted", pa.int64()),
         ("probabilities", pa.list_(pa.float32(), len(classes))), *((name, pa.string()) for name in columns)],
        {CLASS_NAMES: json.dumps(classes)},
    )  # fmt: skip
    group = np.empty((GROUP, len(classes)))
    waiting = 0

    def add(probabilities: Probabilities) -> None:
        nonlocal waiting
        for start in range(0, len(probabilities), GROUP):
            part = probabilities[start : start + GROUP]
            free = GROUP - waiting
            group[waiting : waiting + len(part)] = part[:free]
            waiting = min(waiting + len(part), GROUP)
            if waiting == GROUP:
                write()
                group[: len(part) - free] = part[free:]
                waiting = len(part) - free

    def write() -> None:
        batch, numbers = group[:waiting], list(islice(rows, waiting))
        shares = pa.array(batch.round(DIGITS).astype(np.float32).ravel())
        columns = [
            pa.array([names[row] for row in numbers]), pa.array(subset.labels[numbers]), pa.array(batch.argmax(axis=1)),
            pa.FixedSizeListArray.from_arrays(shares, len(classes)),
            *(pa.array(list(islice(values, waiting)), pa.string()) for values in further),
        ]  # fmt: skip
        writer.write_table(pa.table(columns, schema))

    with (
        artifacts.writing(plots / EXACT) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        yield add
        if waiting:
            write()


def write_readable(
    plots: Path, predictions: Predictions, names: Mapping[int, str], columns: Mapping[str, Sequence[str]]
) -> None:
    """Write predictions.csv into plots/; arguments as for `exact`."""
    header = ["image", "label", "predicted", "confidence"]
    for place in ("second", "third")[: predictions.likeliest.shape[1] - 1]:
        header += [place, f"{place}_confidence"]
    lines = _lines(predictions, names)
    if columns:
        header += map(safe, columns)
        further = zip(*columns.values(), strict=True)
        lines = ([*line, *map(safe, values)] for line, values in zip(lines, further, strict=True))
    artifacts.write_rows(plots / READABLE, header, lines)


def _lines(predictions: Predictions, names: Mapping[int, str]) -> Iterator[list[str]]:
    classes = [safe(name) for name in predictions.classes]
    columns = predictions.rows, predictions.labels, predictions.likeliest, predictions.probabilities
    for row, label, likeliest, shares in zip(*columns, strict=True):
        guesses = zip(likeliest, shares, strict=True)
        yield [safe(names[row]), classes[label], *(t for g, p in guesses for t in (classes[g], f"{p:.{DIGITS}f}"))]


def safe(name: str) -> str:
    """Return a name that no spreadsheet, terminal or page takes for a formula, a command or markup."""
    text = one_line(name).translate(NOT_MARKUP)
    return f"'{text}" if text.startswith(FORMULA) else text


def read(path: Path) -> Answers:
    """Read predictions.parquet.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    with artifacts.reading(path, "evaluate"), pq.ParquetFile(path) as file:
        classes = class_names(file.schema_arrow)
        parts = [_read_group(group, len(classes)) for group in file.iter_batches(GROUP, columns=WANTED)]
        images, *arrays = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(images, kind="stable")
        return Answers(images[order].tolist(), classes, *(array[order] for array in arrays))


def auroc(path: Path) -> dict[str, float]:
    """Compute the mean area under the ROC curve, of each class against the others, from predictions.parquet.

    The file is read once for every few classes, so that memory does not grow with rows times classes.

    Args:
        path: of the file.

    Returns:
        `auroc`, and `auroc_classes`: the mean is over the classes that some test rows have and some do not. Empty if
        there are none.
    """
    with artifacts.reading(path, "evaluate"), pq.ParquetFile(path) as file:
        count, n = len(class_names(file.schema_arrow)), file.metadata.num_rows
        labels = np.concatenate([group.column(0).to_numpy() for group in file.iter_batches(GROUP, columns=["label"])])
        tested = [code for code in range(count) if 0 < (labels == code).sum() < n]
        step, areas = max(1, SCORES // max(1, n)), list[float]()
        for start in range(0, len(tested), step):
            codes = tested[start : start + step]
            groups = file.iter_batches(GROUP, columns=["probabilities"])
            parts = [group.column(0).flatten().to_numpy().reshape(-1, count)[:, codes] for group in groups]
            scores = np.concatenate(parts)
            areas += [metrics.auroc(scores[:, place], labels == code) for place, code in enumerate(codes)]
    return {"auroc": float(np.mean(areas)), "auroc_classes": len(areas)} if areas else {}


def class_names(schema: pa.Schema) -> list[str]:
    """Return the class names that the columns' metadata hold."""
    return [str(name) for name in json.loads(schema.metadata[CLASS_NAMES])]


def _read_group(group: pa.RecordBatch, classes: int) -> tuple[npt.NDArray[Any], ...]:
    """Return images (objects), labels, predicted, confidence and truth of some rows."""
    images, labels, predicted, probabilities = (group.column(name) for name in WANTED)
    labels, predicted = (column.to_numpy(zero_copy_only=False).astype(np.int64) for column in (labels, predicted))
    shares = probabilities.flatten().to_numpy().astype(np.float64).reshape(len(labels), classes)
    codes = np.concatenate([labels, predicted])
    if (codes < 0).any() or (codes >= classes).any():
        raise ValueError(f"it holds classes beyond its {classes}")
    rows = np.arange(len(labels))
    return images.to_numpy(zero_copy_only=False), labels, predicted, shares[rows, predicted], shares[rows, labels]
