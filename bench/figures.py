"""The figures of docs/experiments.md: every recipe, with the seeds that it is stated for.

Run by `make figures`; IMAGETRAIL_TEST_DATA names the folder of images and weights. Each figure is one `mlflow run` with
the parameters below. Finished figures are in bench/results/figures.json and are not repeated while the recipe is the
same; an interrupted training resumes after its last epoch.
"""

import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench/results/figures.json"
RESNET50 = {"model.name": "resnet50", "model.weights": "resnet50-imagenet-fp16.pth"}
"""Weights that are available without a network; the recipes name torchvision's."""
SUBSET = {"download.source": "csv", "download.images": "images", "download.split_column": "split"}
ON_CPU = {"model.stem": "32", "model.widths": "[64, 128, 256]", "train.batch_size": "128"}


@dataclass(frozen=True)
class Figure:
    """A recipe on one data set."""

    recipe: str
    data: str
    """Folder of IMAGETRAIL_TEST_DATA."""
    seeds: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)


FIGURES = [
    Figure("cats-dogs-resnet50", "cats-dogs", parameters=RESNET50),
    Figure("flowers-resnet152", "flower-photos", parameters=RESNET50),
    Figure("folder-cnn", "flower-photos"),
    Figure("folder-cnn", "cats-dogs"),
    Figure(
        "csv-gray",
        "dance-form",
        parameters={
            "download.table": "train.csv",
            "download.image_column": "Image",
            "download.label_column": "target",
            "download.extension": "null",
            "preprocess.divisor": "null",
            "preprocess.image_size": "28",
        },
    ),
    Figure("mnist-mlp", "mnist"),
    Figure("fashion-mlp", "fashion-mnist"),
    Figure("cifar10-resnet152", "cifar10-subset", parameters=SUBSET | RESNET50),
    Figure("cifar10-cnn", "cifar10-subset", parameters=SUBSET | ON_CPU),
    Figure("fashion-cnn", "fashion-mnist"),
    Figure("mnist-tiny", "mnist", seeds=5),
    Figure("mnist-cnn", "mnist", seeds=3),
    Figure("mnist-cnn-plus", "mnist", seeds=3),
]


def main() -> None:
    """Train for every missing figure, then print the table."""
    folder = os.environ.get("IMAGETRAIL_TEST_DATA")
    if not folder:
        raise SystemExit(
            "make figures: set IMAGETRAIL_TEST_DATA to the folder that holds mnist/, cats-dogs/, weights/ …"
        )
    data = Path(folder).resolve()
    done = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for figure in (f for f in FIGURES if not sys.argv[1:] or f.recipe in sys.argv[1:]):
        for seed in range(figure.seeds):
            key = f"{prefix(figure)}{seed}"
            if key not in done:
                print(f"--- {key}", flush=True)
                done[key] = reach(figure, data, seed)
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(done, indent=1))
    print(table(done))


def prefix(figure: Figure) -> str:
    """Return the key of a figure's results; a changed recipe has a new key."""
    from imagetrail.params import recipes

    decisive = [recipes.params(ROOT, figure.recipe).model_dump(mode="json"), dict(figure.parameters)]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return f"{figure.recipe} {figure.data} {digest[:8]} "


def reach(figure: Figure, data: Path, seed: int) -> dict[str, float | str]:
    """Run a recipe with `mlflow run` and read its run."""
    import mlflow
    from mlflow.projects import run

    from imagetrail.tracking import store

    store.prepare(ROOT)
    parameters = {
        "recipe": figure.recipe,
        "train.seed": str(seed),
        "download.path": str(data / figure.data),
        "download.weights": str(data / "weights"),
        **figure.parameters,
    }
    begin = time.monotonic()
    submitted = run(str(ROOT), parameters=parameters, env_manager="local")
    metrics = mlflow.get_run(submitted.run_id).data.metrics
    return {
        "run": submitted.run_id,
        "accuracy": metrics["test/accuracy"],
        "parameters": metrics["model/parameters"],
        "multiply_adds": metrics["model/multiply_adds"],
        "seconds": time.monotonic() - begin,
    }


def table(done: Mapping[str, Mapping[str, float]]) -> str:
    """Format one row per recipe and data set: accuracy as mean and spread over the seeds."""
    lines = ["| recipe | data | parameters | test accuracy | seeds | minutes each |", "|---|---|---|---|---|---|"]
    for figure in FIGURES:
        runs = [values for key, values in done.items() if key.startswith(prefix(figure))]
        if not runs:
            continue
        accuracies = [100 * values["accuracy"] for values in runs]
        mean = f"{statistics.mean(accuracies):.2f} %"
        spread = f" ± {statistics.stdev(accuracies):.2f}" if len(runs) > 1 else ""
        minutes = statistics.mean(values["seconds"] for values in runs) / 60
        cells = [
            figure.recipe,
            figure.data,
            f"{runs[0]['parameters']:,.0f}",
            mean + spread,
            len(runs),
            f"{minutes:.1f}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
