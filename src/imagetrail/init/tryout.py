"""Train each candidate for an epoch, and compare them on validation rows."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imagetrail.download import sources, weights
from imagetrail.download.job import SourceJob
from imagetrail.files import arrays, artifacts
from imagetrail.files.artifacts import LabelRow, LineRow
from imagetrail.init.choose import Variant
from imagetrail.params.load import Params
from imagetrail.preprocess import build, readers
from imagetrail.split import splits
from imagetrail.train import loop, normalisation
from imagetrail.train.checkpoints import Checkpoints


class Tried(NamedTuple):
    """What a candidate reached."""

    name: str
    accuracy: float
    """Of the validation rows, after an epoch."""
    seconds: float
    parameters: int


def compare(root: Path, variants: Sequence[Variant]) -> list[Tried]:
    """Train the candidates, each on the same rows; nothing is written into the repository.

    Args:
        root: the repository's root.
        variants: the candidates.

    Returns:
        Their trials, the most accurate first.
    """
    trials = []
    with tempfile.TemporaryDirectory(prefix="imagetrail") as temporary:
        aside = Path(temporary)
        size = None
        for variant in variants:
            params = variant.params
            if params.preprocess != size:
                _prepare(root, aside, params)
                size = params.preprocess
            trials.append(_train(root, aside, variant.name, params))
    return sorted(trials, key=lambda trial: -trial.accuracy)


def _prepare(root: Path, aside: Path, params: Params) -> None:
    """Fill data/raw, data/tensors and data/split of the temporary folder, as the stages do."""
    local = params.download.model_copy(update={"path": str((root / params.download.path).resolve())})
    lines = aside / artifacts.LINES
    lines.mkdir(parents=True, exist_ok=True)
    artifacts.write_rows(lines / "lines.csv", LineRow._fields, ())
    with artifacts.writing_folder(aside / artifacts.RAW) as folder:
        source, rows = sources.load(SourceJob(local, aside, folder, params.machine.jobs, lines))
        artifacts.write_source(folder, source)
        artifacts.write_rows(folder / "labels.csv", LabelRow._fields, rows)
    reader = readers.open_reader(aside, source, local.path)
    size, expected = build.sizes(aside, reader, params.preprocess)
    options = params.preprocess
    build.build(
        aside,
        build.BuildPlan(
            source, reader, options.form(size), expected, options.max_rejected, options.limits, options.on_conflict,
            params.machine,
        ),
    )  # fmt: skip
    for name, numbers in splits.split_rows(aside, params.split)[0].items():
        with artifacts.writing(aside / artifacts.SPLIT / f"{name}.npy") as path, path.open("wb") as file:
            np.save(file, numbers)


def _train(root: Path, aside: Path, name: str, params: Params) -> Tried:
    train, val = arrays.open_subset(aside, "train"), arrays.open_subset(aside, "val")
    local = root / params.download.weights
    found = weights.find(params.model.weights, local, aside)
    card = normalisation.new_card(params.model, found, params.train.normalisation, train)
    options = params.train.model_copy(update={"epochs": 1, "warmup_epochs": 0})
    start = None if found is None else local / found.file
    begin = time.perf_counter()
    checkpoints = Checkpoints(aside / "checkpoints")
    trained = loop.fit(loop.Task(card, start, train, val, aside), options, checkpoints, lambda *_: None)
    checkpoints.clear()
    seconds = time.perf_counter() - begin
    return Tried(name, trained.kept.val_accuracy or 0.0, seconds, trained.classifier.card.parameters)
