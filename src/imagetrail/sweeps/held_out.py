"""What a fold's model answers for the rows that it did not see, and which of them resemble its mistakes.

A fold leaves two files: predictions.parquet as `evaluate` writes it, and neighbours.csv for the mistakes.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from imagetrail.evaluate import answers, inference
from imagetrail.evaluate.inference import Predictions
from imagetrail.files import artifacts
from imagetrail.files.arrays import Indices, Subset
from imagetrail.model import devices
from imagetrail.model.classifier import Classifier
from imagetrail.model.embedding import Features, embed
from imagetrail.model.probabilities import Probabilities
from imagetrail.params.evaluate import Evaluate

HELD_OUT = "held_out"
"""Of a fold's artifacts."""
NEIGHBOURS = "neighbours.csv"
NEAREST = 4
"""Images of a class that are shown beside a mistake."""
EXAMINED = 200
"""Mistakes of a fold that get neighbours, those with the least probable labels."""


class Neighbour(NamedTuple):
    """A line of neighbours.csv: an image that resembles a mistake; the most similar first."""

    image: str
    label: str
    """Class of the neighbour: the mistake's label, or what the model answered."""
    neighbour: str


@dataclass(frozen=True)
class HeldOut:
    """The answers for rows of the train and validation sides, each by a model that had not seen the row."""

    classes: list[str]
    images: list[str]
    labels: Indices
    """int64 [n]."""
    probabilities: Probabilities
    """float32 [n,K]."""
    neighbours: Mapping[tuple[str, str], list[str]]
    """Images by (mistake, class)."""


def write(root: Path, folder: Path, model: Classifier, subset: Subset, options: Evaluate) -> None:
    """Write both files.

    Args:
        root: of the data, for the names of the images.
        folder: where they go.
        model: of the fold.
        subset: the rows that it did not see.
        options: section `evaluate` of params.yaml.
    """
    names = artifacts.image_names(root, subset.rows.tolist())
    with answers.exact(folder, subset, names, {}) as keep:
        predictions = inference.predict(model, subset, options, keep)
    artifacts.write_rows(
        folder / NEIGHBOURS, Neighbour._fields, _neighbours(model, subset, predictions, names, options)
    )


def _neighbours(
    model: Classifier, subset: Subset, predictions: Predictions, names: Mapping[int, str], options: Evaluate
) -> Iterator[Neighbour]:
    wrong = predictions.mistakes()
    wrong = wrong[np.argsort(predictions.truth[wrong], kind="stable")][:EXAMINED]
    if not len(wrong):
        return
    device = devices.choose(options.device)
    starts = range(0, len(subset), options.batch_size)
    pixels = (subset.read(subset.rows[start : start + options.batch_size]) for start in starts)
    with devices.repeatable(device, options.threads):
        features = np.concatenate(list(embed(model, pixels, device)))
    for position in wrong.tolist():
        for code in (int(predictions.labels[position]), int(predictions.predicted[position])):
            for other in nearest(features, predictions.labels, position, code).tolist():
                row, neighbour = (names[int(subset.rows[place])] for place in (position, other))
                yield Neighbour(row, predictions.classes[code], neighbour)


def nearest(features: Features, labels: Indices, position: int, label: int) -> Indices:
    """Return the positions of the images of a class that are most like one image, by the cosine of their features.

    Args:
        features: float32 [n,D].
        labels: int64 [n].
        position: of the image, which is not among the answers.
        label: the class.
    """
    members = np.flatnonzero(labels == label)
    members = members[members != position]
    lengths = np.linalg.norm(features[members], axis=1) * np.linalg.norm(features[position])
    likeness = features[members] @ features[position] / np.maximum(lengths, np.finfo(np.float32).tiny)
    chosen: Indices = members[np.argsort(-likeness, kind="stable")[:NEAREST]]
    return chosen


def read(folders: list[Path]) -> HeldOut:
    """Read the files of all folds.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    tables, neighbours = [], dict[tuple[str, str], list[str]]()
    for folder in folders:
        with artifacts.reading(folder / answers.EXACT, "split") as path:
            tables.append(pq.read_table(path))
        with artifacts.reading(folder / NEIGHBOURS, "split") as path, path.open(encoding="utf-8", newline="") as file:
            for image, label, neighbour in list(csv.reader(file))[1:]:
                neighbours.setdefault((image, label), []).append(neighbour)
    classes = answers.class_names(tables[0].schema)
    shares = [table.column("probabilities").combine_chunks().flatten().to_numpy() for table in tables]
    return HeldOut(
        classes=classes,
        images=[name for table in tables for name in table.column("image").to_pylist()],
        labels=np.concatenate([table.column("label").to_numpy() for table in tables]),
        probabilities=np.concatenate(shares).reshape(-1, len(classes)),
        neighbours=neighbours,
    )
