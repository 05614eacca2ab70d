"""Find labels that were flipped at random: precision and recall of the first suspects of cross-validation.

`python -m bench label-errors FOLDER`; FOLDER holds labels.csv (image, label, split) and the folder images/
of RGB images of 32 pixels.
"""

import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.table import Row
from imagetrail.params import overrides

FLIPPED, FIRST, FOLDS, GOAL = 0.05, 100, 5, 0.8
CHANGES = (
    "download.source=csv", "download.images=images", "download.split_column=split",
    "preprocess.channels=3", "preprocess.image_size=32", "model.widths=[32, 64, 128]",
    "train.arithmetic=native", "train.precision=bfloat16", "train.epochs=40",
    "train.augment=[{name: RandomHorizontalFlip}, {name: RandomCrop, size: [32, 32], padding: 3}]",
)  # fmt: skip


def measure(folder: str) -> list[Row]:
    """Flip labels of a copy, cross-validate, and compare suspects.csv with what was flipped."""
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        flipped, total = _flip(Path(folder).absolute(), clone / "data/source")
        overrides.apply(clone, CHANGES)
        environment = {n: v for n, v in os.environ.items() if not n.startswith(("MLFLOW_", "DVC_"))}
        environment |= {"PYTHONPATH": "src", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["imagetrail", "sweep", "--folds", str(FOLDS)]
        subprocess.run(command, cwd=clone, env=environment, check=True)
        (found,) = clone.glob("mlruns/*/*/artifacts/sweep/suspects.csv")
        with found.open(encoding="utf-8", newline="") as file:
            suspects = [line["image"] for line in csv.DictReader(file)]
    hits, among_all = (len(flipped.intersection(images)) for images in (suspects[:FIRST], suspects))
    what = f"{len(flipped)} of {total:,} labels flipped: "
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


def _flip(folder: Path, target: Path) -> tuple[set[str], int]:
    """Put a table with flipped train labels, and the images, into a folder.

    Returns:
        (images with another label, number of images on the train side).
    """
    chosen = random.Random(0)
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    classes = sorted({line["label"] for line in lines})
    train = [line for line in lines if line["split"] == "train"]
    flipped = chosen.sample(train, round(FLIPPED * len(train)))
    for line in flipped:
        line["label"] = chosen.choice([name for name in classes if name != line["label"]])
    with (target / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    shutil.copytree(folder / "images", target / "images")
    return {f"images/{line['image']}" for line in flipped}, len(train)


if __name__ == "__main__":
    print(*measure(sys.argv[1]), sep="\n")
