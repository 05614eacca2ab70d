"""The doors for the stages: a run that is trained, evaluated, rebuilt from files, or stands for another."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torchinfo import summary

from imagetrail import arrays, artifacts, classifier, devices
from imagetrail.arrays import Subset
from imagetrail.classifier import Classifier
from imagetrail.params import Params
from imagetrail.tracking import contents, models
from imagetrail.tracking.run import EVALUATION, MODEL_SHA256, PROCESS, SOURCE_RUN, STANDS_IN, Run, process_tag
from imagetrail.training import Epoch, Trained

EVALUATION_FOLDER = "evaluation"
"""Artifacts of a run that evaluate leaves: figures, predictions, pictures."""


class TrainingRun:
    """The run of a training that is going on."""

    def __init__(self, run: Run, params: Params, train: Subset) -> None:
        """Describe the training that is about to begin."""
        self._run, self._params, self._train = run, params, train

    def log_epoch(self, epoch: Epoch, images_per_second: float | None) -> None:
        """Log an epoch's figures, and the speed where it was measured."""
        figures = contents.epoch_metrics(epoch._asdict())
        self._run.log_metrics(figures | {"speed/images_per_second": images_per_second}, step=epoch.epoch)

    def finish(self, trained: Trained) -> None:
        """Log what the training left in models/, metrics/ and plots/, and the model itself."""
        self._run.attempt(lambda: self._finish(trained))

    def _finish(self, trained: Trained) -> None:
        model = trained.classifier
        device = next(model.parameters()).device
        self._run.attempt(lambda: self._run.client.set_tag(self._run.id, "device", devices.describe(device)))
        _log_model_and_files(self._run, self._params, self._train, model, device)
        _take_over_test_figures(self._run, self._params, model.card.sha256)
        contents.describe(self._run, self._params, self._train.dataset)


@contextmanager
def training_run(root: Path, params: Params, train: Subset) -> Iterator[TrainingRun]:
    """Open the run of a training: the one that `mlflow run` opened, else a new one."""
    run = Run(root)
    run.close_dead_runs()
    with run.open(run.adopted_id(), contents.run_name(root, params), _tags(process=True), system_metrics=True):
        contents.log_params(run, params)
        contents.log_environment(run)
        contents.log_dataset(run, params, train.dataset)
        contents.log_augmentation(run, params, train)
        yield TrainingRun(run, params, train)


def log_evaluation(root: Path, params: Params, subset: Subset) -> None:
    """Add the test figures to the run of the model that they belong to.

    That is the run that `mlflow run` opened, else the newest run with the model's sha256, else one rebuilt from the
    files. A run that holds figures of other rows or parameters keeps them, and a linked one is opened.
    """
    run = Run(root)
    run.attempt(lambda: _log_evaluation(run, params, subset))


def _log_evaluation(run: Run, params: Params, subset: Subset) -> None:
    root = run.root
    sha256 = classifier.read_card(root / artifacts.MODELS).sha256
    run_id, links = run.adopted_id(), dict[str, str]()
    if run_id is None and (found := run.find(sha256)) is not None:
        if found.data.tags.get(EVALUATION) in (None, contents.evaluation_key(root, params)):
            run_id = found.info.run_id
        else:
            links[SOURCE_RUN] = found.info.run_id
    if not run.active:
        return
    if run_id is None:
        _rebuild(run, params, subset, None, links)
        return
    with run.open(run_id, contents.run_name(root, params), {MODEL_SHA256: sha256}, system_metrics=False):
        _log_test_figures(run, params)
        contents.describe(run, params, subset.dataset)


def rebuild(root: Path, params: Params) -> None:
    """Make a new run of the files, where the store has none for their model: a fresh clone, a deleted run."""
    run = Run(root)
    if run.active and run.find(classifier.read_card(root / artifacts.MODELS).sha256) is None:
        _rebuild(run, params, arrays.open_subset(root, "train"), None, {})


def stand_for(root: Path, files: Path, params: Params) -> None:
    """Fill the run that `mlflow run` opened when DVC had nothing to train.

    It gets the parameters, figures and pictures of the run that trained the model, and a link to it; where the store
    has no such run, it is rebuilt from the files.

    Args:
        root: the checkout.
        files: a folder with the experiment's outputs.
        params: the experiment's parameters.
    """
    run = Run(root, files)
    project_run = run.adopted_id()
    assert project_run is not None, "only called under `mlflow run`"
    sha256 = classifier.read_card(files / artifacts.MODELS).sha256
    held = run.attempt(lambda: run.client.get_run(project_run).data)
    if held is None or {"train/loss", "model/parameters"} <= held.metrics.keys():
        return
    train = arrays.open_subset(files, "train")
    source = run.find(sha256, other_than=project_run)
    if source is None:
        _rebuild(run, params, train, project_run, {})
        return
    links = {SOURCE_RUN: source.info.run_id, MODEL_SHA256: sha256, STANDS_IN: "true"}
    with run.open(project_run, contents.run_name(root, params), _tags() | links, system_metrics=False):
        contents.log_params(run, params)
        contents.log_environment(run)
        contents.log_dataset(run, params, train.dataset)
        run.attempt(lambda: _copy_figures(run, source.info.run_id, ""))
        if EVALUATION in source.data.tags and EVALUATION not in held.tags:
            run.attempt(lambda: run.client.set_tag(run.id, EVALUATION, source.data.tags[EVALUATION]))
        contents.describe(run, params, train.dataset)


def explain_failure(root: Path, reason: str) -> None:
    """Say in the run that `mlflow run` opened why it has nothing to show."""
    run = Run(root)
    if (run_id := run.adopted_id()) is not None:
        run.attempt(lambda: run.client.set_tag(run_id, "mlflow.note.content", reason))


def _tags(*, process: bool = False) -> dict[str, str]:
    tags = contents.versions() | ({PROCESS: process_tag()} if process else {})
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = experiment
    return tags


def _rebuild(run: Run, params: Params, subset: Subset, run_id: str | None, links: dict[str, str]) -> None:
    tags = _tags() | links | {"imagetrail.rebuilt": "true"}
    with run.open(run_id, contents.run_name(run.root, params), tags, system_metrics=False):
        contents.log_params(run, params)
        contents.log_environment(run)
        contents.log_dataset(run, params, subset.dataset)
        contents.log_augmentation(run, params, subset)
        contents.log_history(run)
        model = classifier.load(run.files / artifacts.MODELS)
        _log_model_and_files(run, params, subset, model, torch.device("cpu"))
        if (run.files / artifacts.METRICS / "test.json").is_file():
            _log_test_figures(run, params)
        contents.describe(run, params, subset.dataset)


def _log_model_and_files(run: Run, params: Params, subset: Subset, model: Classifier, device: torch.device) -> None:
    card, files = model.card, run.files
    shape = (2, card.channels, *card.image_size)
    example = np.resize(subset.images[subset.rows[:2]], shape)
    models.log_model(run, model, example, device)
    text = str(summary(model, input_data=torch.from_numpy(example), verbose=0, depth=4, col_names=COLUMNS))

    def log() -> None:
        run.client.set_tag(run.id, MODEL_SHA256, card.sha256)
        run.client.log_text(run.id, text + "\n", "model_summary.txt")
        for path in (files / artifacts.METRICS / "train.json", files / artifacts.PLOTS / "history.csv"):
            run.client.log_artifact(run.id, str(path), "training")

    run.attempt(log)
    size = float((files / artifacts.MODELS / classifier.WEIGHTS).stat().st_size)
    kept = artifacts.read_metrics(files, "train")
    figures = {f"model/{name}": kept.get(name) for name in ("val_accuracy", "val_loss", "multiply_adds")}
    run.log_metrics(figures | {"model/parameters": float(card.parameters), "model/bytes": size})


COLUMNS = ("input_size", "output_size", "num_params", "mult_adds")


def _log_test_figures(run: Run, params: Params) -> None:
    files = run.files

    def log() -> None:
        held = run.client.get_run(run.id)
        outputs = held.outputs.model_outputs if held.outputs else []
        figures = contents.test_metrics(files)
        if any(held.data.metrics.get(name) != value for name, value in figures.items()):
            run.log_metrics(figures, model_id=outputs[0].model_id if outputs else None)
        for path in [files / artifacts.METRICS / "test.json", *(files / artifacts.PLOTS).iterdir()]:
            if path.name != "history.csv":
                run.client.log_artifact(run.id, str(path), EVALUATION_FOLDER)
        run.client.set_tag(run.id, EVALUATION, contents.evaluation_key(files, params))

    run.attempt(log)


def _take_over_test_figures(run: Run, params: Params, sha256: str) -> None:
    """A training that ends with an earlier model's bytes leaves evaluate nothing to do: take that run's figures."""
    earlier = run.find(sha256, other_than=run.id)
    if earlier is None or earlier.data.tags.get(EVALUATION) != contents.evaluation_key(run.files, params):
        return

    def log() -> None:
        _copy_figures(run, earlier.info.run_id, "test/")
        run.client.set_tag(run.id, EVALUATION, earlier.data.tags[EVALUATION])
        run.client.set_tag(run.id, SOURCE_RUN, earlier.info.run_id)

    run.attempt(log)


def _copy_figures(run: Run, source_id: str, prefix: str) -> None:
    """Every value of the source's metrics that begin with `prefix` and the run lacks, its pictures, and its model."""
    source = run.client.get_run(source_id)
    held = run.client.get_run(run.id)
    for name in source.data.metrics.keys() - held.data.metrics.keys():
        if name.startswith(prefix) and not name.startswith("system/"):
            run.client.log_batch(run.id, metrics=run.client.get_metric_history(source_id, name))
    with tempfile.TemporaryDirectory() as folder:
        present = {file.path for file in run.client.list_artifacts(source_id)}
        for name in sorted({EVALUATION_FOLDER, "training", "model_summary.txt"} & present):
            if prefix == "test/" and name != EVALUATION_FOLDER:
                continue
            path = Path(run.client.download_artifacts(source_id, name, folder))
            if path.is_dir():
                run.client.log_artifacts(run.id, str(path), name)
            else:
                run.client.log_artifact(run.id, str(path))
    if (
        not prefix
        and source.outputs
        and source.outputs.model_outputs
        and not (held.outputs and held.outputs.model_outputs)
    ):
        run.client.log_outputs(run.id, source.outputs.model_outputs)
