"""One run a training, on a real SQLite store: found again, completed, never in the way."""

import json
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import REPOSITORY, make_root, set_params

from imagetrail.errors import TrainingError
from imagetrail.files import artifacts
from imagetrail.params.load import load_params
from stages import download, evaluate, preprocess, split, train

pytestmark = [
    pytest.mark.xdist_group("tracking"),  # one process builds the fixtures of the module
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow warns of its own insides
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with tensors and split, and a training of two epochs to come."""
    root = make_root(tmp_path_factory.mktemp("prepared"), train__epochs=2, model__widths=[8, 16])
    for stage in (download, preprocess, split):
        stage.main(root)
    return root


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, whose runs go to a store of its own."""
    copy = tmp_path / "repository"
    shutil.copytree(prepared, copy)
    yield copy
    import mlflow

    while mlflow.active_run():
        mlflow.end_run()
    logging.getLogger("mlflow").setLevel(logging.WARNING)


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training with its evaluation, to look at; not to be changed."""
    root = tmp_path_factory.mktemp("trained") / "repository"
    shutil.copytree(prepared, root)
    train.main(root)
    evaluate.main(root)
    return root


def client(root: Path, folder: str = ""):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{root.resolve()}/{folder}mlflow.db")


def runs(root: Path) -> list:
    return client(root).search_runs(["0"], order_by=["attributes.start_time ASC"])


def found(text: str) -> object:
    """The value of a logged parameter."""
    return json.loads(text) if text[0] in "[0123456789" or text in ("true", "false") else text


def test_one_run_holds_everything(trained: Path) -> None:
    (run,) = runs(trained)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "digits widths=[8, 16] epochs=2 arithmetic=native"
    expected = load_params(trained).effective()
    assert {name: found(text) for name, text in run.data.params.items()} == expected
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/lr", "speed/images_per_second"):
        assert [m.step for m in client(trained).get_metric_history(run.info.run_id, name)] == [1, 2]
    figures = json.loads((trained / "metrics/test.json").read_text())
    for name in ("accuracy", "loss", "macro_f1", "ece"):
        assert run.data.metrics[f"test/{name}"] == figures[name]
    assert run.data.metrics["model/parameters"] == artifacts.read_card(trained)["parameters"]
    assert run.data.tags["imagetrail.model_sha256"] == artifacts.read_card(trained)["sha256"]
    assert run.data.tags["torch"] == "2.15.0"
    assert "test accuracy" in run.data.tags["mlflow.note.content"]
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "digits"
    assert artifacts.read_dataset(trained).sha256.startswith(dataset.dataset.digest)
    paths = {file.path for folder in ("", "data", "evaluation", "training", "environment")
             for file in client(trained).list_artifacts(run.info.run_id, folder)}  # fmt: skip
    assert paths >= {
        "params.yaml", "model_summary.txt", "training/history.csv", "training/train.json", "evaluation/test.json",
        "evaluation/confusion_matrix.png", "evaluation/learning_curves.png", "evaluation/mistakes.png",
        "evaluation/samples.png", "evaluation/predictions.csv", "evaluation/predictions.parquet",
        "environment/requirements.txt",
        "data/data.png", "data/dataset.json", "data/findings.csv", "data/rejected.csv",
    }  # fmt: skip


def test_the_summary_lists_layers_shapes_and_parameters(trained: Path) -> None:
    (run,) = runs(trained)
    path = client(trained).download_artifacts(run.info.run_id, "model_summary.txt")
    text = Path(path).read_text()
    assert "Conv2d" in text
    assert "[2, 10]" in text
    assert f"{artifacts.read_card(trained)['parameters']:,}" in text


def test_artifact_locations_are_absolute_paths_in_the_repository(trained: Path) -> None:
    (run,) = runs(trained)
    assert run.info.artifact_uri.removeprefix("file://").startswith(str(trained.resolve() / "mlruns"))


def test_retraining_with_equal_bytes_takes_over_the_test_figures(root: Path) -> None:
    train.main(root)
    evaluate.main(root)
    train.main(root)  # DVC now finds the same model, and evaluate has nothing to do
    first, second = runs(root)
    assert first.data.tags["imagetrail.model_sha256"] == second.data.tags["imagetrail.model_sha256"]
    for name in ("test/accuracy", "test/loss", "test/macro_f1", "test/ece"):
        assert second.data.metrics[name] == first.data.metrics[name]
    assert second.data.tags["imagetrail.source_run_id"] == first.info.run_id
    pictures = {file.path for file in client(root).list_artifacts(second.info.run_id, "evaluation")}
    assert "evaluation/confusion_matrix.png" in pictures


def test_figures_of_other_rows_are_not_overwritten(root: Path) -> None:
    train.main(root)
    evaluate.main(root)
    (first,) = runs(root)
    set_params(root, evaluate__calibration_bins=5)
    evaluate.main(root)
    kept, linked = runs(root)
    assert kept.data.metrics["test/ece"] == first.data.metrics["test/ece"] != linked.data.metrics["test/ece"]
    assert linked.data.tags["imagetrail.source_run_id"] == first.info.run_id
    evaluate.main(root)
    assert len(runs(root)) == 2


def test_evaluate_twice_logs_once(root: Path) -> None:
    train.main(root)
    evaluate.main(root)
    evaluate.main(root)
    (run,) = runs(root)
    assert len(client(root).get_metric_history(run.info.run_id, "test/accuracy")) == 1


def test_a_missing_run_is_rebuilt_from_the_files(root: Path) -> None:
    from imagetrail.tracking.stages import rebuild

    train.main(root)
    evaluate.main(root)
    (before,) = runs(root)
    client(root).delete_run(before.info.run_id)
    rebuild(root, load_params(root))
    (after,) = runs(root)
    for name, value in before.data.metrics.items():
        if not name.startswith(("system/", "speed/")):
            assert after.data.metrics[name] == value
    assert after.data.params == before.data.params
    assert after.data.tags["imagetrail.rebuilt"] == "true"
    assert len(client(root).get_metric_history(after.info.run_id, "val/loss")) == 2
    assert after.outputs.model_outputs
    rebuild(root, load_params(root))
    assert len(runs(root)) == 1


@pytest.mark.parametrize("where", ["deleted", "another store"])
def test_evaluate_creates_a_complete_run_if_it_finds_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    train.main(root)
    if where == "deleted":
        client(root).delete_run(runs(root)[0].info.run_id)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root.resolve()}/another/mlflow.db")
        (root / "another").mkdir()
    evaluate.main(root)
    (run,) = runs(root if where == "deleted" else root / "another")
    assert run.data.tags["imagetrail.rebuilt"] == "true"
    assert run.data.metrics["test/accuracy"] == artifacts.read_metrics(root, "test")["accuracy"]
    assert {"train/loss", "val/accuracy", "model/parameters"} <= run.data.metrics.keys()
    assert len(run.outputs.model_outputs) == 1


def test_a_run_opened_by_mlflow_is_adopted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from imagetrail.tracking import store

    store.prepare(root)
    run = client(root).create_run("0", tags={"mlflow.runName": "agreeable-shad-7"})
    client(root).log_param(run.info.run_id, "train.epochs", "02")  # as typed
    for stage in (train, evaluate):
        monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root.resolve()}/mlflow.db")
        stage.main(root)
    (adopted,) = runs(root)
    assert adopted.info.run_id == run.info.run_id
    assert adopted.data.params["train.epochs"] == "02"
    assert adopted.data.params["train.batch_size"] == "64"
    assert {"train/loss", "test/accuracy"} <= adopted.data.metrics.keys()
    assert adopted.info.run_name.startswith("digits ")
    assert mlflow.active_run() is None


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_an_unreachable_server_delays_training_by_seconds(
    root: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if kind == "silent":
            server.listen()  # accepts, and never says a word
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{server.getsockname()[1]}")
        begin = time.monotonic()
        train.main(root)
        evaluate.main(root)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("imagetrail: warning")]
    assert len(warnings) == 2, "one a stage"
    assert "waits in .imagetrail/outbox" in warnings[0]
    assert "secret" not in warnings[0]
    assert time.monotonic() - begin < 60
    assert json.loads((root / "metrics/test.json").read_text())["n"] == 359
    assert (root / "plots/history.csv").read_text().count("\n") == 3


def test_runs_of_dead_processes_are_ended(root: Path) -> None:
    from imagetrail.tracking import store

    store.prepare(root)
    dead = client(root).create_run("0", tags={"imagetrail.process": f"{socket.gethostname()}|999999|1"})
    elsewhere = client(root).create_run("0", tags={"imagetrail.process": "another-host|1|1"})
    models = [client(root).create_logged_model("0", "model", run.info.run_id) for run in (dead, elsewhere)]
    train.main(root)
    assert [client(root).get_logged_model(model.model_id).status for model in models] == ["FAILED", "PENDING"]
    status = {run.info.run_id: run.info.status for run in runs(root)}
    assert (status[dead.info.run_id], status[elsewhere.info.run_id]) == ("KILLED", "RUNNING")


def test_a_run_killed_while_it_logs_its_model_is_ended(root: Path) -> None:
    code = (
        "import os, mlflow.pyfunc; from pathlib import Path; from stages import train\n"
        "mlflow.pyfunc.save_model = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        "train.main(Path())"
    )
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"}
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False)
    assert killed.returncode == -9
    assert [model.status for model in client(root).search_logged_models(["0"])] == ["PENDING"]
    train.main(root)
    assert sorted(model.status for model in client(root).search_logged_models(["0"])) == ["FAILED", "READY"]
    assert [run.info.status for run in runs(root)] == ["KILLED", "FINISHED"]


def test_a_database_deleted_during_a_training_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagetrail.tracking.stages import TrainingRun

    log_epoch = TrainingRun.log_epoch

    def delete(self: TrainingRun, epoch, speed) -> None:
        log_epoch(self, epoch, speed)
        if epoch.epoch == 1:
            (root / "mlflow.db").unlink()

    monkeypatch.setattr(TrainingRun, "log_epoch", delete)
    train.main(root)
    code = "from pathlib import Path; from stages import evaluate; evaluate.main(Path())"  # as another process
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True)
    store = client(root, "./")  # MLflow keeps its connection to the deleted file under that file's address
    (rebuilt,) = store.search_runs(["0"])
    assert rebuilt.info.status == "FINISHED"
    assert [m.step for m in store.get_metric_history(rebuilt.info.run_id, "val/loss")] == [1, 2]
    assert rebuilt.data.metrics["test/accuracy"] == artifacts.read_metrics(root, "test")["accuracy"]


def test_an_interrupted_training_is_marked_and_resumes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagetrail.tracking.stages import TrainingRun

    log_epoch = TrainingRun.log_epoch

    def interrupt(self: TrainingRun, epoch, speed) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt
        log_epoch(self, epoch, speed)

    monkeypatch.setattr(TrainingRun, "log_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train.main(root)
    monkeypatch.setattr(TrainingRun, "log_epoch", log_epoch)
    train.main(root)
    killed, finished = runs(root)
    assert (killed.info.status, finished.info.status) == ("KILLED", "FINISHED")
    assert [m.step for m in client(root).get_metric_history(finished.info.run_id, "val/loss")] == [1, 2]
    assert not list((root / ".imagetrail/checkpoints").iterdir())


def test_a_training_that_cannot_start_is_marked_failed(root: Path) -> None:
    set_params(root, model__widths=[8] * 5)
    with pytest.raises(TrainingError, match="too small for the 5 blocks"):
        train.main(root)
    assert [run.info.status for run in runs(root)] == ["FAILED"]


def test_parallel_first_starts_create_one_store(root: Path) -> None:
    code = "from pathlib import Path; from imagetrail.tracking import store; print(*store.prepare(Path()))"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(outputs) == 1
    assert sqlite3.connect(root / "mlflow.db").execute("select count(*) from experiments").fetchone() == (1,)


def test_named_experiments_keep_their_artifacts_in_the_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "team a/digits")
    train.main(root)
    experiment = client(root).get_experiment_by_name("team a/digits")
    assert experiment.artifact_location == str(root.resolve() / "mlruns" / "team_a_digits")
    assert len(client(root).search_runs([experiment.experiment_id])) == 1
