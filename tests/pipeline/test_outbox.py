"""A real MLflow server behind a line that fails: nothing is lost, nothing is doubled, a training loses seconds."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from clones import free_port, wait_for_server
from pydantic import ValidationError
from support import PATIENCE, REPOSITORY, make_root

from imagetrail.tracking import calls, outbox
from imagetrail.tracking.calls import LogModel, SetTags
from imagetrail.tracking.run import Run
from imagetrail.tracking.stages import TrainingRun
from stages import download, evaluate, preprocess, split, train

pytestmark = [
    pytest.mark.xdist_group("outbox"),  # one process builds the fixtures of the module
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow warns of its own insides
]
EPOCHS = 6


class Line:
    """A TCP line to a server: `up`, `down` (refuses), or `deaf` (delivers what is asked and loses every answer)."""

    def __init__(self, port: int) -> None:
        self.state = "up"
        self._target = port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def switch(self, state: str) -> None:
        self.state = state
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if self.state == "down":
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.state == "deaf":
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port), "--backend-store-uri",
         f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")],
        cwd=folder, env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for_server(process, port, f"http://127.0.0.1:{port}/health")
    yield port
    os.killpg(process.pid, 15)
    process.wait(PATIENCE)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_root(tmp_path_factory.mktemp("prepared"), train__epochs=EPOCHS, model__widths=[8])
    for stage in (download, preprocess, split):
        stage.main(root)
    return root


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "repository"))


@pytest.fixture
def line(server: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Line:
    line = Line(server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{line.port}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    return line


def at_epochs(monkeypatch: pytest.MonkeyPatch, actions: dict[int, Callable[[], None]]) -> None:
    """Do something before an epoch is logged."""
    log_epoch = TrainingRun.log_epoch

    def logged(self: TrainingRun, epoch, speed) -> None:
        actions.get(epoch.epoch, lambda: None)()
        log_epoch(self, epoch, speed)

    monkeypatch.setattr(TrainingRun, "log_epoch", logged)


@pytest.mark.parametrize(("address", "attempts"), [("http://{}", 2), ("postgresql://{}/figures", 3)])
def test_a_store_that_stays_silent_is_asked_a_few_times(
    root: Path, monkeypatch: pytest.MonkeyPatch, address: str, attempts: int
) -> None:
    """It accepts connections and never answers: MLflow's own patience would be minutes, ours 15 seconds."""
    connections: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: [connections.append(listener.accept()[0]) for _ in range(99)], daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(f"127.0.0.1:{listener.getsockname()[1]}"))
    train.main(root)
    assert 1 <= len(connections) <= attempts
    seconds = {"http": os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], "post": os.environ.get("PGCONNECT_TIMEOUT", "4")}
    assert attempts * int(seconds[address[:4]]) <= 15
    assert list((root / ".imagetrail/outbox").iterdir())


def the_run(server: int, name: str):
    """The only run of the experiment, asked without the line."""
    import mlflow

    client = mlflow.MlflowClient(f"http://127.0.0.1:{server}")
    experiment = client.get_experiment_by_name(name)
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def is_whole(root: Path, server: int, name: str, *, tested: bool) -> None:
    """Everything is there, once."""
    client, run = the_run(server, name)
    assert run.info.status == "FINISHED"
    for metric in ("train/loss", "val/accuracy", "train/lr"):
        history = client.get_metric_history(run.info.run_id, metric)
        assert sorted(m.step for m in history) == list(range(1, EPOCHS + 1)), metric
    assert run.data.params["train.epochs"] == str(EPOCHS)
    assert len(run.outputs.model_outputs) == 1
    assert len(run.inputs.dataset_inputs) == 1
    paths = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"params.yaml", "model_summary.txt", "training", "data", "environment"} <= paths
    if tested:
        figures = json.loads((root / "metrics/test.json").read_text())
        assert run.data.metrics["test/accuracy"] == figures["accuracy"]
        assert len(client.get_metric_history(run.info.run_id, "test/accuracy")) == 1
        assert "test accuracy" in run.data.tags["mlflow.note.content"]
    assert outbox.waiting(root) == []


def test_a_server_that_dies_during_training_gets_everything_later(
    root: Path, line: Line, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_epochs(monkeypatch, {3: lambda: line.switch("down")})
    train.main(root)
    evaluate.main(root)
    assert len(outbox.waiting(root)) == 2, "what train and what evaluate could not say"
    _, run = the_run(server, tmp_path.name)
    assert run.info.status == "RUNNING"
    line.switch("up")
    from imagetrail.params.load import load_params
    from imagetrail.tracking.stages import rebuild

    rebuild(root, load_params(root))  # what `make repro` does when DVC has nothing to do
    is_whole(root, server, tmp_path.name, tested=True)


def test_a_server_absent_from_the_start_gets_everything_later(
    root: Path, line: Line, server: int, tmp_path: Path
) -> None:
    line.switch("down")
    train.main(root)
    line.switch("up")
    evaluate.main(root)
    is_whole(root, server, tmp_path.name, tested=True)


def test_lost_answers_log_once(
    root: Path, line: Line, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store accepts epoch 2 and its reply is lost; it is logged again in the same training."""
    monkeypatch.setattr("imagetrail.tracking.run.PAUSE", 0)
    monkeypatch.setattr("imagetrail.tracking.run.BACKOFF", 0)
    at_epochs(monkeypatch, {2: lambda: line.switch("deaf"), 4: lambda: line.switch("up")})
    train.main(root)
    is_whole(root, server, tmp_path.name, tested=False)


def test_an_interrupted_delivery_logs_once(
    root: Path, line: Line, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.switch("down")
    train.main(root)
    line.switch("up")
    make = LogModel.make

    def dies(call: LogModel, client, run_id: str) -> None:
        make(call, client, run_id)
        raise OSError("the machine is switched off before it knows that the store has the model")

    monkeypatch.setattr(LogModel, "make", dies)
    evaluate.main(root)
    monkeypatch.setattr(LogModel, "make", make)
    evaluate.main(root)
    is_whole(root, server, tmp_path.name, tested=True)


def test_an_unsendable_entry_does_not_block_later_trainings(
    root: Path, line: Line, server: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as one of another version, which knows other calls."""
    line.switch("down")
    train.main(root)
    line.switch("up")
    (waiting,) = outbox.waiting(root)
    calls = waiting.parent / "calls.jsonl"
    calls.write_text(calls.read_text().replace('"kind": "text"', '"kind": "telegram"'))
    train.main(root)
    assert "cannot be sent (ValidationError: 1 validation error" in capsys.readouterr().err
    assert outbox.waiting(root) == [waiting]
    import mlflow

    client = mlflow.MlflowClient(f"http://127.0.0.1:{server}")
    experiment = client.get_experiment_by_name(tmp_path.name)
    assert "FINISHED" in {run.info.status for run in client.search_runs([experiment.experiment_id])}


def test_a_killed_training_is_sent_and_marked_killed(root: Path, line: Line, server: int, tmp_path: Path) -> None:
    """kill -9 while the server is away: the next stage ends the run as KILLED, with the epochs it had."""
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(REPOSITORY)!r}]
from pathlib import Path
from stages import train
from imagetrail.tracking.stages import TrainingRun
log_epoch = TrainingRun.log_epoch
def logged(self, epoch, speed):
    log_epoch(self, epoch, speed)
    if epoch.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
TrainingRun.log_epoch = logged
train.main(Path())
"""
    line.switch("down")
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == -9
    line.switch("up")
    from imagetrail.tracking.run import Run

    Run(root)
    client, run = the_run(server, tmp_path.name)
    assert run.info.status == "KILLED"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == [1, 2]
    assert outbox.waiting(root) == []


def test_a_run_keeps_its_tags_when_its_start_fails(root: Path, server: int, line: Line, tmp_path: Path) -> None:
    """As under `mlflow run`, which has opened it, where the server goes away before the stage says its first word."""
    import mlflow

    begun = Run(root)
    client = mlflow.MlflowClient(f"http://127.0.0.1:{server}")
    run_id = client.create_run(begun.experiment_id).info.run_id
    line.switch("down")
    with begun.open(run_id, "a name", {"kept": "yes"}):
        pass
    assert outbox.waiting(root)
    line.switch("up")
    Run(root)
    assert outbox.waiting(root) == []
    _, run = the_run(server, tmp_path.name)
    assert (run.data.tags["kept"], run.info.status) == ("yes", "FINISHED")


def test_bugs_in_outbox_calls_raise(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError):
        SetTags(tags={"number": 3})

    def mistaken(self: SetTags, client, run_id: str) -> None:
        raise AssertionError("code that is wrong")

    mistaken.__code__ = mistaken.__code__.replace(co_filename=calls.__file__)
    monkeypatch.setattr(SetTags, "make", mistaken)
    with pytest.raises(AssertionError, match="code that is wrong"):
        train.main(root)
