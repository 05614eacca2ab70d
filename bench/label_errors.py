"""Find labels that were flipped at random: precision and recall of the first suspects of cross-validation.

`python -m bench label-errors FOLDER`; FOLDER holds cifar10-subset/ (labels.csv with image, label and split; images/)
and mnist/ (the idx files), of whose train images the first 6,000 are taken.
"""

import csv
import gzip
import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from bench.clone import fresh, run
from bench.table import Row
from imagetrail.files import artifacts
from imagetrail.params import overrides

FLIPPED, FIRST, FOLDS, GOAL = 0.05, 100, 5, 0.8
MNIST_TRAIN, MNIST_TEST = 6_000, 600
CHANGES = (
    "download.source=csv", "download.images=images", "download.split_column=split",
    "preprocess.channels=3", "preprocess.image_size=32", "model.widths=[32, 64, 128]",
    "train.arithmetic=native", "train.precision=bfloat16", "train.epochs=40",
    "train.augment=[{name: RandomHorizontalFlip}, {name: RandomCrop, size: [32, 32], padding: 3}]",
)  # fmt: skip


def measure(folder: str) -> list[Row]:
    """Flip labels of a copy, cross-validate, and compare suspects.csv with what was flipped."""
    place = Path(folder).absolute()
    return [*_measure("MNIST", place / "mnist"), *_measure("CIFAR-10", place / "cifar10-subset")]


def _measure(name: str, folder: Path) -> list[Row]:
    with fresh() as clone:
        source = clone / "data/source"
        if name == "MNIST":
            _write_mnist(folder, source)
        else:
            shutil.copy(folder / "labels.csv", source)
            shutil.copytree(folder / "images", source / "images")
        flipped, total = _flip(source / "labels.csv")
        overrides.apply(clone, CHANGES)
        run(clone, "imagetrail", "sweep", "--folds", str(FOLDS))
        (found,) = clone.glob("mlruns/*/*/artifacts/sweep/suspects.csv")
        with found.open(encoding="utf-8", newline="") as file:
            suspects = [line["image"] for line in csv.DictReader(file)]
    hits, among_all = (len(flipped.intersection(images)) for images in (suspects[:FIRST], suspects))
    what = f"{name}, {len(flipped)} of {total:,} labels flipped: "
    return [
        Row(
            f"{what}the first {FIRST} suspects of {FOLDS} folds",
            f"precision {hits / FIRST:.2f}, recall {hits / len(flipped):.2f} of at most {FIRST / len(flipped):.2f}",
            f"precision {GOAL:g}",
            hits / FIRST >= GOAL,
        ),
        Row(
            f"{what}all {len(suspects):,} suspects",
            f"precision {among_all / len(suspects):.2f}, recall {among_all / len(flipped):.2f}",
            "none",
            True,
        ),
    ]


def _write_mnist(folder: Path, target: Path) -> None:
    """Write images and labels.csv, as cifar10-subset/ has them: grey padded to 32 pixels of RGB."""
    pixels, labels = (
        np.frombuffer(gzip.decompress((folder / f"train-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    (target / "images").mkdir()
    lines = []
    for number, image in enumerate(pixels.reshape(-1, 28, 28)[: MNIST_TRAIN + MNIST_TEST]):
        Image.fromarray(np.pad(image, 2)).convert("RGB").save(target / f"images/{number:05d}.png")
        lines.append((f"{number:05d}.png", labels[number], "train" if number < MNIST_TRAIN else "test"))
    artifacts.write_rows(target / "labels.csv", ("image", "label", "split"), lines)


def _flip(table: Path) -> tuple[set[str], int]:
    """Flip labels of the train side.

    Returns:
        (images with another label, number of images on the train side).
    """
    chosen = random.Random(0)
    with table.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    classes = sorted({line["label"] for line in lines})
    train = [line for line in lines if line["split"] == "train"]
    flipped = chosen.sample(train, round(FLIPPED * len(train)))
    for line in flipped:
        line["label"] = chosen.choice([name for name in classes if name != line["label"]])
    artifacts.write_rows(table, lines[0], (line.values() for line in lines))
    return {f"images/{line['image']}" for line in flipped}, len(train)
