"""Preprocessing against the usual loop of scikit-image, image by image, one core against one core; then on two."""

import itertools
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.io import imread
from skimage.transform import resize
from threadpoolctl import threadpool_limits

from bench.table import Row, interleaved, spread
from imagetrail.files import artifacts
from imagetrail.files.artifacts import LabelRow, Source, file_sha256
from imagetrail.files.form import Form
from imagetrail.params.machine import Machine
from imagetrail.params.preprocess import Limits
from imagetrail.preprocess import build
from imagetrail.preprocess.readers import open_reader

COUNT, PARTS, ROUNDS = 2400, 40, 7
GOALS = {(252, 28): 10.0, (512, 224): 6.0}
TWO_CORES = 1.6


def measure() -> list[Row]:
    """Time both in turn on the same JPEG files, in grey, from a warm disk."""
    return [row for (side, size), goal in GOALS.items() for row in _compare(side, size, goal)]


def _compare(side: int, size: int, goal: float) -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        root = Path(folder)
        paths = _photographs(root / "source", side)
        artifacts.write_rows(
            root / artifacts.RAW / "labels.csv",
            LabelRow._fields,
            (LabelRow(p.name, "ab"[n % 2], "", "", str(p.stat().st_size), file_sha256(p)) for n, p in enumerate(paths)),
        )
        parts = itertools.cycle(
            [paths[part::PARTS] for part in range(PARTS)]
        )  # each round reads other files, as ours does
        actions = {
            "loop": lambda: [resize(imread(path, as_gray=True), (size, size)) for path in next(parts)],
            "one": lambda: _preprocess(root, size, 1),
            "two": lambda: _preprocess(root, size, 2),
        }
        interleaved(actions, rounds=1)  # warm up; joblib's workers stay
        seconds = interleaved(actions, ROUNDS)
    loop, one, two = (statistics.median(seconds[name]) for name in ("loop", "one", "two"))
    ratio = loop * PARTS / one
    what = f"JPEG of {side} pixels to {size}"
    return [
        Row(
            f"preprocess of {what} against skimage's imread and resize, one core",
            f"{COUNT / one:,.0f} images a second, {spread(seconds['one'])} for {COUNT}: {ratio:.1f} times",
            f"{goal:g} times",
            ratio >= goal,
        ),
        Row(
            f"the same on two of {os.cpu_count()} cores against one",
            f"{COUNT / two:,.0f} images a second, {spread(seconds['two'])}: {one / two:.2f} times",
            f"{TWO_CORES} times",
            one / two >= TWO_CORES,
        ),
    ]


def _photographs(folder: Path, side: int) -> list[Path]:
    """Generate smooth noise whose JPEG is about as large as a photograph's."""
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = []
    for number in range(COUNT):
        coarse = Image.fromarray(random.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
        paths.append(folder / f"{number:04d}.jpg")
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def _preprocess(root: Path, size: int, jobs: int) -> None:
    limits = Limits(**dict.fromkeys(Limits.model_fields))
    machine = Machine(jobs=jobs, backend="loky", scheduler=None, processes=1)
    reader = open_reader(root, Source("csv", None, {}), "source")
    build.build(
        root,
        build.BuildPlan(Source("csv", None, {}), reader, Form(1, (size, size), None), None, 0, limits, "drop", machine),
    )
