"""The functions that stages call: log a training, add its evaluation, rebuild a lost run, fill a cached run."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torchinfo import summary

from imagetrail.console import announce
from imagetrail.evaluate.gate import Decision
from imagetrail.evaluate.report import REPORT
from imagetrail.files import arrays, artifacts
from imagetrail.files.arrays import Subset
from imagetrail.model import classifier, devices
from imagetrail.params.load import Params
from imagetrail.tracking import contents, outcome, registry, report_page
from imagetrail.tracking.calls import CopyModels, LinkParts, LogModel, LogText, Register, SetTags
from imagetrail.tracking.run import Run, launch_tags, process_tag
from imagetrail.tracking.tags import (
    CACHED,
    DEVICE,
    EVALUATION,
    GATE,
    MODEL_SHA256,
    PARENT,
    PROCESS,
    REBUILT,
    SOURCE_RUN,
    SWEEP,
    TEST_ROWS,
)
from imagetrail.train.loop import Epoch, Trained

if TYPE_CHECKING:
    import mlflow

UNJUDGED = Decision(None, None)
"""Of a model that no gate has judged."""
EVALUATION_FOLDER = "evaluation"
"""The artifacts of `evaluate`: figures, predictions, pictures."""


class TrainingRun:
    """The run of a training in progress."""

    def __init__(self, run: Run, params: Params, train: Subset) -> None:
        """Take the run of a training that is about to start."""
        self._run, self._params, self._train = run, params, train

    @property
    def id(self) -> str | None:
        """The run's id; None if the store has not given one yet."""
        return self._run.id

    def log_epoch(self, epoch: Epoch, images_per_second: float | None) -> None:
        """Log an epoch's figures, and the speed if it was measured."""
        figures = contents.epoch_metrics(epoch._asdict())
        self._run.log_metrics(figures | {"speed/images_per_second": images_per_second}, step=epoch.epoch)

    def finish(self, trained: Trained) -> None:
        """Log the training's files in models/, metrics/ and plots/, and the model itself."""
        run, card = self._run, trained.classifier.card
        device = next(trained.classifier.parameters()).device
        run.log(SetTags(tags={DEVICE: devices.describe(device)}))
        _log_model_and_files(run, self._train)
        tested = _take_over_test_figures(run, self._params, card.sha256)
        contents.describe(run, self._params, self._train.dataset, tested=tested)

    def log_files(self, folder: str, paths: Sequence[Path]) -> None:
        """Log files, and the contents of folders, to a folder of the run's artifacts."""
        self._run.log_files(folder, paths)

    def log_test(self) -> None:
        """Log the test figures of the model, and the files of `evaluate`."""
        _log_test_figures(self._run, self._params, UNJUDGED)
        contents.describe(self._run, self._params, self._train.dataset, tested=True)


class NoRun:
    """Takes the place of the run in a process whose training another process tracks."""

    def log_epoch(self, epoch: Epoch, images_per_second: float | None) -> None:
        """Log nothing."""

    def finish(self, trained: Trained) -> None:
        """Log nothing."""


@contextmanager
def training_run(root: Path, params: Params, train: Subset, *, tracked: bool) -> Iterator[TrainingRun | NoRun]:
    """Open the run of a training: the one that `mlflow run` or a killed process of it opened, else a new one."""
    if not tracked:
        yield NoRun()
        return
    run = Run(root)
    run.close_dead_runs()
    with _training(run, params, train, run.adopted_id(), contents.run_name(root, params), {}) as training:
        yield training


@contextmanager
def child_run(
    root: Path, outputs: Path, params: Params, train: Subset, name: str, tags: dict[str, str]
) -> Iterator[TrainingRun]:
    """Open a new run for a training that is a part of a sweep, whose run the tag PARENT names once its id is known.

    Args:
        root: the checkout.
        outputs: a folder with the training's outputs, not the checkout's.
        params: of the training.
        train: its train rows.
        name: of the run.
        tags: that link it to the other run.
    """
    run = Run(root, outputs)
    with _training(run, params, train, None, name, tags) as training:
        try:
            yield training
        finally:
            if PARENT not in tags and SWEEP in tags:
                run.log(LinkParts(sweep=tags[SWEEP]))


@contextmanager
def _training(
    run: Run, params: Params, train: Subset, run_id: str | None, name: str, tags: dict[str, str]
) -> Iterator[TrainingRun]:
    with run.open(run_id, name, _tags() | tags | {PROCESS: process_tag()} | launch_tags()):
        run.watch()
        contents.log_params(run, params)
        contents.log_environment(run)
        contents.log_dataset(run, params, train.dataset)
        contents.log_augmentation(run, params, train)
        yield TrainingRun(run, params, train)


def log_evaluation(root: Path, params: Params, subset: Subset, decision: Decision) -> None:
    """Add the test figures to the run of the model that they belong to, and what the gate decided.

    That is the run that `mlflow run` opened, else the newest run with the model's sha256, else one rebuilt from the
    files. A run that holds figures of other rows or parameters keeps them, and a linked one is opened.

    Args:
        root: the checkout.
        params: of the evaluation.
        subset: the test rows.
        decision: of the gate.
    """
    run = Run(root)
    sha256 = classifier.read_card(root / artifacts.MODELS).sha256
    run_id, links = run.adopted_id(), dict[str, str]()
    if run_id is None and (found := run.find(sha256)) is not None:
        if found.data.tags.get(EVALUATION) in (None, contents.evaluation_key(root, params)):
            run_id = found.info.run_id
        else:
            links[SOURCE_RUN] = found.info.run_id
    if run_id is None and run.reachable:
        _rebuild(run, params, subset, None, links, decision)
    else:
        with run.go_on(run_id, contents.run_name(root, params), sha256):
            _log_test_figures(run, params, decision)
            contents.describe(run, params, subset.dataset, tested=True)
    reached = outcome.reached(artifacts.read_card(root)["name"], artifacts.read_metrics(root, "test"))
    announce(" ".join(filter(None, [reached, report_page.ledger(run), f"MLflow: {outcome.runs()}"])))


def _log_gate(run: Run, params: Params, reasons: list[str] | None) -> None:
    if reasons is not None:
        run.log(SetTags(tags={GATE: "; ".join(reasons) or "passed"}))
    if reasons == [] and params.evaluate.registry is not None:
        run.log(Register(name=params.evaluate.registry, alias=registry.CHAMPION))


def rebuild(root: Path, params: Params) -> None:
    """Create a run from the files if the store has none for their model, as in a fresh clone or after deletion."""
    run = Run(root)
    if run.find(classifier.read_card(root / artifacts.MODELS).sha256) is None and run.reachable:
        _rebuild(run, params, arrays.open_subset(root, "train"), None, {})


def fill_cached_run(root: Path, files: Path, params: Params) -> None:
    """Fill the run that `mlflow run` opened when DVC had nothing to train.

    It gets the parameters, figures and pictures of the run that trained the model, and a link to it; if the store has
    no such run, it is rebuilt from the files.

    Args:
        root: the checkout.
        files: a folder with the experiment's outputs.
        params: the experiment's parameters.
    """
    run = Run(root, files)
    project_run = run.adopted_id()
    assert project_run is not None, "only called under `mlflow run`"
    sha256 = classifier.read_card(files / artifacts.MODELS).sha256
    held = run.ask(lambda client: client.get_run(project_run).data)
    if held is None or {"train/loss", "model/parameters"} <= held.metrics.keys():
        return
    train = arrays.open_subset(files, "train")
    source = run.find(sha256, other_than=project_run)
    if source is None:
        _rebuild(run, params, train, project_run, {})
        return
    links = {SOURCE_RUN: source.info.run_id, MODEL_SHA256: sha256, CACHED: "true"}
    with run.open(project_run, contents.run_name(root, params), _tags() | links):
        contents.log_params(run, params)
        contents.log_environment(run)
        contents.log_dataset(run, params, train.dataset)
        _copy_figures(run, source.info.run_id, "")
        tested = EVALUATION in held.tags or EVALUATION in source.data.tags
        if EVALUATION in source.data.tags and EVALUATION not in held.tags:
            run.log(SetTags(tags=_of_evaluation(source)))
        contents.describe(run, params, train.dataset, tested=tested)


def explain_failure(root: Path, reason: str) -> None:
    """Note in the run that `mlflow run` opened why it is empty."""
    run = Run(root)
    if (run_id := run.adopted_id()) is not None:
        run.ask(lambda client: client.set_tag(run_id, "mlflow.note.content", reason))


def _tags() -> dict[str, str]:
    tags = contents.versions()
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = experiment
    return tags


def _rebuild(
    run: Run, params: Params, subset: Subset, run_id: str | None, links: dict[str, str],
    decision: Decision = UNJUDGED,
) -> None:  # fmt: skip
    tags = _tags() | links | {REBUILT: "true"}
    tested = (run.outputs / artifacts.METRICS / "test.json").is_file()
    with run.open(run_id, contents.run_name(run.root, params), tags):
        contents.log_params(run, params)
        contents.log_environment(run)
        contents.log_dataset(run, params, subset.dataset)
        contents.log_augmentation(run, params, subset)
        contents.log_history(run)
        _log_model_and_files(run, subset)
        if tested:
            _log_test_figures(run, params, decision)
        contents.describe(run, params, subset.dataset, tested=tested)


def _log_model_and_files(run: Run, subset: Subset) -> None:
    files = run.outputs
    model = classifier.load(files / artifacts.MODELS)
    card = model.card
    example = np.resize(subset.images[subset.rows[:2]], (2, card.channels, *card.image_size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.png"
        Image.fromarray(example[0].transpose(1, 2, 0).squeeze()).save(path)
        run.log(LogModel(files=(files / artifacts.MODELS, path)))
    text = str(summary(model, input_data=torch.from_numpy(example), verbose=0, depth=4, col_names=SUMMARY_COLUMNS))
    run.log(SetTags(tags={MODEL_SHA256: card.sha256}))
    run.log(LogText(path="model_summary.txt", text=text + "\n"))
    run.log_files("training", [files / artifacts.METRICS / "train.json", files / artifacts.PLOTS / "history.csv"])
    size = float((files / artifacts.MODELS / classifier.WEIGHTS_FILE).stat().st_size)
    kept = artifacts.read_metrics(files, "train")
    figures = {f"model/{name}": kept.get(name) for name in ("val_accuracy", "val_loss", "multiply_adds")}
    run.log_metrics(figures | {"model/parameters": float(card.parameters), "model/bytes": size})


SUMMARY_COLUMNS = ("input_size", "output_size", "num_params", "mult_adds")


def _log_test_figures(run: Run, params: Params, decision: Decision) -> None:
    files, run_id = run.outputs, run.id
    held = run.ask(lambda client: client.get_run(run_id).data.metrics) if run_id is not None else None
    figures = contents.test_metrics(files)
    if any((held or {}).get(name) != value for name, value in figures.items()):
        run.log_metrics(figures, of_model=True)
    elsewhere = ("history.csv", REPORT)
    plots = sorted(path for path in (files / artifacts.PLOTS).iterdir() if path.name not in elsewhere)
    run.log_files(EVALUATION_FOLDER, [files / artifacts.METRICS / "test.json", *plots])
    run.log(SetTags(tags={EVALUATION: contents.evaluation_key(files, params), TEST_ROWS: contents.test_rows(files)}))
    report_page.log(run, params, EVALUATION_FOLDER, decision.against)  # with the tags set, since it counts this run
    _log_gate(run, params, decision.reasons)


def _take_over_test_figures(run: Run, params: Params, sha256: str) -> bool:
    """Copy the test figures of an earlier run with the same model's bytes, since evaluate then has nothing to do."""
    earlier = run.find(sha256, other_than=run.id or "")
    if earlier is None or earlier.data.tags.get(EVALUATION) != contents.evaluation_key(run.outputs, params):
        return False
    _copy_figures(run, earlier.info.run_id, "test/")
    run.log(SetTags(tags=_of_evaluation(earlier) | {SOURCE_RUN: earlier.info.run_id}))
    return True


def _of_evaluation(run: "mlflow.entities.Run") -> dict[str, str]:
    return {name: run.data.tags[name] for name in (EVALUATION, TEST_ROWS) if name in run.data.tags}


def _copy_figures(run: Run, source_id: str, prefix: str) -> None:
    """Copy the source's metrics that begin with `prefix` and that the run lacks, its pictures, and its model."""

    def copy(client: "mlflow.MlflowClient") -> None:
        assert run.id is not None, "only while the store answers"
        held, source = client.get_run(run.id), client.get_run(source_id)
        for name in source.data.metrics.keys() - held.data.metrics.keys():
            if name.startswith(prefix) and not name.startswith("system/"):
                client.log_batch(run.id, metrics=client.get_metric_history(source_id, name))
        present = {file.path for file in client.list_artifacts(source_id)}
        wanted = {EVALUATION_FOLDER} if prefix else {EVALUATION_FOLDER, "training", "model_summary.txt"}
        with tempfile.TemporaryDirectory() as folder:
            for name in sorted(wanted & present):
                path = Path(client.download_artifacts(source_id, name, folder))
                run.log_files(name if path.is_dir() else "", [path])

    run.ask(copy)
    if not prefix:
        run.log(CopyModels(source_run_id=source_id))
