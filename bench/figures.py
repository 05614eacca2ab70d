"""The trainings behind docs/results.md: every recipe, with the seeds that it is stated for.

Run by `make figures`; IMAGETRAIL_TEST_DATA names the folder of images and weights. Each figure is one `mlflow run`
with the parameters below, from a clean checkout, so that its commit restores it. A figure is not repeated while the
recipe is the same; an interrupted training resumes after its last epoch.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from bench import results  # noqa: E402
from bench.energy import Meter  # noqa: E402
from bench.results import DATA, Result  # noqa: E402
from imagetrail import git  # noqa: E402
from imagetrail.params import recipes  # noqa: E402
from imagetrail.tracking import store, tags  # noqa: E402

RESNET50 = {
    "model.name": "resnet50",
    "model.weights": "resnet50-imagenet-fp16.pth",
    "download.weights": f"{DATA}/weights",
}
"""Weights that are available without a network; the recipes name torchvision's."""
BUNDLED = "digits"
"""The data set that needs no folder."""
SUBSET = {"download.source": "csv", "download.images": "images", "download.split_column": "split"}


@dataclass(frozen=True)
class Figure:
    """A recipe on one data set."""

    recipe: str
    data: str
    """Folder of IMAGETRAIL_TEST_DATA, or BUNDLED."""
    seeds: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def overrides(self) -> dict[str, str]:
        """Parameters beside the recipe's."""
        path = {} if self.data == BUNDLED else {"download.path": f"{DATA}/{self.data}"}
        return {**path, **self.parameters}

    @property
    def settings(self) -> str:
        """Digest of the recipe and the overrides; a parameter that is null is as good as absent."""
        values = recipes.params(ROOT, self.recipe).model_dump(mode="json")
        decisive = json.dumps([_without_nulls(values), self.overrides], sort_keys=True)
        return hashlib.sha256(decisive.encode()).hexdigest()[:12]

    @property
    def row(self) -> tuple[str, str, str]:
        """The row of its results."""
        return self.recipe, self.data, self.settings


FIGURES = [
    Figure("default", BUNDLED, seeds=5),
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
    Figure("cifar10-cnn", "cifar10", seeds=3, parameters={"download.source": "parquet"}),
    Figure("fashion-cnn", "fashion-mnist"),
    Figure("mnist-tiny", "mnist", seeds=5),
    Figure("mnist-micro", "mnist", seeds=3),
    Figure("mnist-cnn", "mnist", seeds=3),
    Figure("mnist-cnn-plus", "mnist", seeds=3),
]


def main() -> None:
    """Train for every missing figure, or for those of the recipes that are named, and write the page after each."""
    folder = os.environ.get("IMAGETRAIL_TEST_DATA")
    if not folder:
        raise SystemExit(
            "make figures: set IMAGETRAIL_TEST_DATA to the folder that holds mnist/, cats-dogs/, weights/ …"
        )
    asked = sys.argv[1:] or [figure.recipe for figure in FIGURES]
    if unknown := set(asked) - {figure.recipe for figure in FIGURES}:
        raise SystemExit(f"make figures: {sorted(unknown)[0]!r} is not a recipe; `imagetrail recipe list` names them.")
    for figure in (f for f in FIGURES if f.recipe in asked):
        if figure.data != BUNDLED and not (Path(folder) / figure.data).is_dir():
            print(f"--- {figure.recipe}: {folder} has no {figure.data}, so this figure is left out.", flush=True)
            continue
        for seed in range(figure.seeds):
            current = [r for r in results.read() if r.row[:2] != figure.row[:2] or r.settings == figure.settings]
            if (figure.row, seed) not in [(r.row, r.seed) for r in current]:
                print(f"--- {figure.recipe} on {figure.data}, seed {seed}", flush=True)
                results.write([*current, reach(figure, Path(folder).resolve(), seed)])
    results.write(results.read())


def reach(figure: Figure, data: Path, seed: int) -> Result:
    """Run a recipe with `mlflow run`, and read its run."""
    from mlflow.projects import run

    state = git.read_state(ROOT)
    ours = {path.relative_to(ROOT).as_posix() for path in (results.RECORDS, results.PAGE, results.PICTURE)}
    if state is None or state.changed.keys() - ours:
        raise SystemExit("make figures: commit your changes first, so that the figure's commit restores them.")
    store.prepare(ROOT)
    given = {name: value.replace(DATA, str(data)) for name, value in figure.overrides.items()}
    with Meter() as meter:
        submitted = run(
            str(ROOT), parameters={"recipe": figure.recipe, "train.seed": str(seed), **given}, env_manager="local"
        )
    return of_run(figure, seed, submitted.run_id, meter.joules)


def of_run(figure: Figure, seed: int, run_id: str, joules: float | None) -> Result:
    """Read the result of a run from the store."""
    import mlflow

    run = mlflow.get_run(run_id)
    metrics = run.data.metrics
    return Result(
        recipe=figure.recipe,
        data=figure.data,
        seed=seed,
        overrides=figure.overrides,
        settings=figure.settings,
        accuracy=metrics["test/accuracy"],
        parameters=int(metrics["model/parameters"]),
        multiply_adds=int(metrics["model/multiply_adds"]),
        seconds=round((run.info.end_time - run.info.start_time) / 1000, 1),
        joules=joules,
        machine=f"{run.data.tags[tags.DEVICE]}, {os.cpu_count()} cores",
        commit=run.data.tags[tags.COMMIT],
        date=datetime.fromtimestamp(run.info.start_time / 1000, UTC).date().isoformat(),
    )


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


if __name__ == "__main__":
    main()
