"""Preprocessing against the usual loop of scikit-image, image by image, one core against one core; then on two."""

import hashlib
import io
import itertools
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
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
PNGS, PNG_SIDE, PNG_GOAL = 20_000, 32, 5.0
JPEGS = Source("csv", None, {})


def measure() -> list[Row]:
    """Time both in turn on the same JPEG files, in grey, from a warm disk; then PNGs in Parquet."""
    return [*(row for (side, size), goal in GOALS.items() for row in _compare(side, size, goal)), _parquet()]


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


def _parquet() -> Row:
    """Time PNGs in a Parquet file of one row group, two cores against the plain loop of Pillow on one."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        root, random = Path(folder), np.random.default_rng(0)
        (root / "source").mkdir()
        cells = [_png(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)) for _ in range(PNGS)]
        pq.write_table(pa.table({"image": cells}), root / "source/all.parquet", row_group_size=PNGS)
        names = (f"all.parquet/{number:08d}" for number in range(PNGS))
        rows = (
            LabelRow(name, "ab"[number % 2], "", "", str(len(cell)), hashlib.sha256(cell).hexdigest())
            for number, (name, cell) in enumerate(zip(names, cells, strict=True))
        )
        artifacts.write_rows(root / artifacts.RAW / "labels.csv", LabelRow._fields, rows)

        def loop() -> None:
            for batch in pq.ParquetFile(root / "source/all.parquet").iter_batches(64):
                for cell in batch.column(0).to_pylist():
                    np.asarray(Image.open(io.BytesIO(cell)).convert("RGB"))

        source = Source("parquet", "image", {})
        seconds = interleaved({"ours": lambda: _preprocess(root, PNG_SIDE, 2, source, 3), "loop": loop}, ROUNDS)
    ratio = statistics.median(seconds["loop"]) / statistics.median(seconds["ours"])
    return Row(
        f"preprocess of {PNGS:,} PNGs of {PNG_SIDE} pixels in one Parquet row group, two cores, against Pillow on one",
        f"{spread(seconds['ours'])}, the loop {spread(seconds['loop'])}: {ratio:.1f} times",
        f"{PNG_GOAL:g} times",
        ratio >= PNG_GOAL,
    )


def _png(coarse: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((PNG_SIDE, PNG_SIDE)).save(buffer, "PNG")
    return buffer.getvalue()


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


def _preprocess(
    root: Path, size: int, jobs: int, source: Source = JPEGS, channels: int = 1
) -> None:  # fmt: skip
    limits = Limits(**dict.fromkeys(Limits.model_fields))
    machine = Machine(jobs=jobs, backend="loky", scheduler=None, processes=1)
    reader = open_reader(root, source, "source")
    build.build(
        root,
        build.BuildPlan(source, reader, Form(channels, (size, size), None), None, 0, limits, "drop", machine),
    )
