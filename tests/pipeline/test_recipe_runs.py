"""Each recipe, for a few steps on real images, through the five stages and into MLflow."""

import csv
import gzip
import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image
from support import REPOSITORY, need, set_params

from imagetrail.evaluate import answers
from imagetrail.files import artifacts
from imagetrail.params import recipes
from stages import download, evaluate, preprocess, split, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]  # MLflow warns of its own insides

RESNET50 = {"model__name": "resnet50", "model__weights": "resnet50-imagenet-fp16.pth"}
SMALL = {"model__weights": None, "model__freeze": False, "model__input_size": 48}
"""No weights of ResNet-152 are to be had here: the whole network learns from a random start, on small images."""


@pytest.fixture(autouse=True)
def _own_store(root: Path):
    yield
    mlflow.set_tracking_uri(None)


def few_of_idx(test_data: Path, root: Path, name: str) -> dict[str, object]:
    """The first images of the four idx files, in the same format."""
    for path in sorted((test_data / name).glob("*.gz")):
        data = gzip.decompress(path.read_bytes())
        header, item = (16, 784) if "images" in path.name else (8, 1)
        count = 160 if "train" in path.name else 40
        cut = data[:4] + count.to_bytes(4, "big") + data[8 : header + count * item]
        (root / "data/source" / path.name).write_bytes(gzip.compress(cut))
    return {}


def few_in_folders(test_data: Path, root: Path, name: str) -> dict[str, object]:
    """The first images of every class of both parts."""
    for folder in sorted((test_data / name).glob("*/*")):
        target = root / "data/source" / folder.relative_to(test_data / name)
        target.mkdir(parents=True)
        for path in sorted(folder.iterdir())[: 8 if folder.parent.name == "train" else 3]:
            shutil.copy(path, target)
    return {}


def few_of_table(test_data: Path, root: Path, name: str) -> dict[str, object]:
    """A table's first rows, both parts."""
    source = root / "data/source"
    with (test_data / name / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        row for part, count in (("train", 80), ("test", 20)) for row in [r for r in rows if r["split"] == part][:count]
    ]
    (source / "images").mkdir()
    for row in chosen:
        shutil.copy(test_data / name / "images" / row["image"], source / "images")
    artifacts.write_rows(source / "labels.csv", ["image", "label", "split"], [row.values() for row in chosen])
    return {"download__source": "csv", "download__images": "images", "download__split_column": "split"}


def generated_photographs(test_data: Path, root: Path, name: str) -> dict[str, object]:
    """100 grey photographs of 80 x 96 pixels in two classes, cut out of real ones; the names lack the extension."""
    source = root / "data/source"
    (source / "images").mkdir()
    random, lines = np.random.default_rng(0), []
    for label in ("daisy", "tulips"):
        for number, path in enumerate(sorted((test_data / name / "train" / label).iterdir())[:50]):
            with Image.open(path) as image:
                x, y = (int(random.integers(0, side - cut)) for side, cut in zip(image.size, (96, 80), strict=True))
                image.convert("L").crop((x, y, x + 96, y + 80)).save(source / f"images/{label}{number}.jpg")
            lines.append([f"{label}{number}", label])
    artifacts.write_rows(source / "labels.csv", ["Image_Name", "Lable"], lines)
    return {}


def dance_form(test_data: Path, root: Path, name: str) -> dict[str, object]:
    return {
        "download__path": str(test_data / name), "download__table": "train.csv", "download__image_column": "Image",
        "download__label_column": "target", "download__extension": None, "preprocess__divisor": None,
        "preprocess__image_size": 28,
    }  # fmt: skip


RUNS = [
    ("mnist-cnn", few_of_idx, "mnist", {}),
    ("mnist-cnn-plus", few_of_idx, "mnist", {}),
    ("mnist-tiny", few_of_idx, "mnist", {}),
    ("mnist-micro", few_of_idx, "mnist", {}),
    ("mnist-mlp", few_of_idx, "mnist", {}),
    ("fashion-mlp", few_of_idx, "fashion-mnist", {}),
    ("fashion-cnn", few_of_idx, "fashion-mnist", {}),
    ("csv-gray", generated_photographs, "flower-photos", {}),
    ("csv-gray", dance_form, "dance-form", {}),
    ("folder-cnn", few_in_folders, "flower-photos", {}),
    ("folder-cnn", few_in_folders, "cats-dogs", {}),
    ("cats-dogs-resnet50", few_in_folders, "cats-dogs", RESNET50),
    ("flowers-resnet152", few_in_folders, "flower-photos", RESNET50),
    ("flowers-resnet152", few_in_folders, "flower-photos", SMALL),
    ("cifar10-resnet152", few_of_table, "cifar10-subset", RESNET50),
    (
        "cifar10-cnn",
        few_of_table,
        "cifar10-subset",
        {"model__widths": [16, 16, 16], "train__batch_size": 8},
    ),
]


def test_every_recipe_is_run() -> None:
    assert {name for name, *_ in RUNS} == set(recipes.names(REPOSITORY)) - {
        "default"
    }  # the default has tests of its own


@pytest.mark.parametrize(
    ("name", "prepare", "data", "changes"), RUNS, ids=[f"{name} {data} {list(c)[:1]}" for name, _, data, c in RUNS]
)
def test_recipes_run(root: Path, test_data: Path, name: str, prepare, data: str, changes: dict) -> None:
    need((test_data / data).is_dir(), f"{data} in IMAGETRAIL_TEST_DATA")
    recipes.apply(root, name)
    places = prepare(test_data, root, data)
    small = {"train__epochs": 1, "train__batch_size": 16, "train__device": "cpu", "evaluate__device": "cpu"}
    set_params(root, **{"download__weights": str(test_data / "weights")} | places | small | changes)
    for stage in (download, preprocess, split, train, evaluate):
        stage.main(root)
    metrics = json.loads((root / "metrics/test.json").read_text())
    found = answers.read(root / "plots/predictions.parquet")
    assert len(found.images) == metrics["n"] == len(np.load(root / "data/split/test.npy")) > 0
    assert found.correct.mean() == metrics["accuracy"]
    assert metrics["loss"] == pytest.approx(-np.log(np.maximum(found.truth, 1e-7)).mean(), abs=1e-3)
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    logged = run.data.metrics
    assert name in run.info.run_name or "model__name" in changes
    assert logged["test/accuracy"] == metrics["accuracy"]
    assert logged["model/parameters"] > 0
    assert logged["model/multiply_adds"] > 0
    augments = recipes.params(REPOSITORY, name).train.augment is not None
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id, "training")}
    assert ("training/augmented.png" in files) == augments
