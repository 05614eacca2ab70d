"""`imagetrail server`: a real PostgreSQL and a real MLflow, and the pipeline against them."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from clones import BIN, MAKE, free_port, run, wait_for_server, write_small_space
from support import PATIENCE, need, set_params

from imagetrail.errors import ServerError
from imagetrail.server import postgres
from imagetrail.server.serve import serve
from imagetrail.tracking import move, outbox, store
from stages import download, evaluate, preprocess, split, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow warns of its own insides
]


@contextmanager
def running(folder: Path, port: int) -> Iterator[psutil.Process]:
    process = subprocess.Popen([BIN / "imagetrail", "server", "--port", str(port)], cwd=folder,
                               env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})  # fmt: skip
    try:
        wait_for_server(process, port, f"http://127.0.0.1:{port}/health")
        yield psutil.Process(process.pid)
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        gone, alive = psutil.wait_procs(children, timeout=PATIENCE)
        assert len(gone) >= 3, "PostgreSQL and MLflow"
        assert alive == [], "something was left running"


def test_the_pipeline_uses_the_server_and_finds_its_runs_after_a_restart(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        postgres._programs()
    except ServerError as error:
        need(None, str(error))
    import mlflow

    set_params(root, train__epochs=2, model__widths=[8], machine__jobs=1)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with running(root, port) as server:
        for stage in (download, preprocess, split, train, evaluate):
            stage.main(root)
        listening = {c.laddr.ip for process in [server, *server.children(recursive=True)]
                     for c in process.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN}  # fmt: skip
        assert listening == {"127.0.0.1"}
        stranger = urllib.request.Request(f"{address}/api/2.0/mlflow/experiments/get?experiment_id=0",
                                          headers={"Host": "evil.example.org"})  # fmt: skip
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(stranger, timeout=10)
    assert not (root / "mlflow.db").exists()
    assert (root / ".imagetrail/server/postgres/PG_VERSION").is_file()
    with running(root, port):  # started again, it holds what it held
        client = mlflow.MlflowClient(address)
        (run,) = client.search_runs(["0"])
        assert run.info.status == "FINISHED"
        figures = json.loads((root / "metrics/test.json").read_text())
        assert run.data.metrics["test/accuracy"] == figures["accuracy"]
        assert {"evaluation", "training", "data"} <= {file.path for file in client.list_artifacts(run.info.run_id)}
        assert mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model").metadata.metadata["classes"] == list(
            "0123456789"
        )


def test_a_sweep_runs_with_and_without_a_server(reproduced: Path) -> None:
    """Its parts find each other when what both had to say is sent."""
    import mlflow

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    write_small_space(reproduced)
    sweep = ("imagetrail", "sweep", "small", "--trials", "2", "-S", "train.epochs=1")
    assert "best of 2 trials" in run(reproduced, *sweep, MLFLOW_TRACKING_URI=address).stdout
    assert len(outbox.waiting(reproduced)) == 3
    with running(reproduced, port):
        client = mlflow.MlflowClient(address)
        run(reproduced, *MAKE, "repro", MLFLOW_TRACKING_URI=address)
        assert outbox.waiting(reproduced) == []
        run(reproduced, *sweep, "--workers", "2", "-S", "train.seed=1", MLFLOW_TRACKING_URI=address)
        runs = [found for found in client.search_runs(["0"]) if "imagetrail.sweep" in found.data.tags]
        assert {found.info.status for found in runs} == {"FINISHED"}
        parents = {found.info.run_id: found for found in runs if "imagetrail.trial" not in found.data.tags}
        assert len(parents) == 2
        parts = [found for found in runs if found.info.run_id not in parents]
        assert len(parts) == 4
        for part in parts:
            parent = parents[part.data.tags["mlflow.parentRunId"]]
            assert parent.data.tags["imagetrail.sweep"] == part.data.tags["imagetrail.sweep"]
            assert parent.data.metrics["sweep/complete"] == 2


def test_server_requires_allowed_hosts(root: Path) -> None:
    with pytest.raises(ServerError, match=r"--host 0\.0\.0\.0 lets others in, and --allowed-hosts is empty"):
        serve(root, "0.0.0.0", 5000, [])


def test_a_taken_port_is_reported(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([BIN / "imagetrail", "server", "--port", str(port)], cwd=root, capture_output=True,
                              text=True, check=False, timeout=PATIENCE)  # fmt: skip
    assert done.returncode == 2
    assert "in use" in done.stderr


# --- a local store moved there ----------------------------------------------------------------------------------------


def described(client, experiments: list[str]) -> dict[str, tuple]:
    """What a store holds of its runs, by id."""
    return {
        run.info.run_id: (
            run.info.run_name, run.info.status, run.info.start_time, run.data.params, run.data.metrics, run.data.tags,
            run.inputs.dataset_inputs[0].dataset.digest,
            [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/loss")],
            sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        )
        for run in client.search_runs(experiments)
    }  # fmt: skip


def test_move_store_moves_runs_and_models_to_the_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    gate = {"accuracy": 0.01, "recall": None, "slice": None, "ece": None, "baseline": None}
    small = {"train__epochs": 2, "model__widths": [8], "machine__jobs": 1}
    set_params(root, **small, evaluate__registry="digits", evaluate__gate=gate)
    for stage in (download, preprocess, split, train, evaluate):
        stage.main(root)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other things")
    set_params(root, train__epochs=1)
    train.main(root)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    local = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in local.search_experiments()]
    before = described(local, experiments)
    assert len(before) == 2
    answers = mlflow.pyfunc.load_model("models:/digits@champion").predict(PIXELS)

    def move(*arguments: str, code: int) -> str:
        done = subprocess.run([BIN / "imagetrail", "move-store", *arguments], cwd=root, capture_output=True, text=True,
                              check=False, timeout=PATIENCE)  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert move(code=0).startswith("2 runs are on the server now")
    assert "already; a store can only be moved into an empty database" in move(code=2)
    (root / "mlruns").rename(root / "mlruns.old")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with running(root, port):
        client = mlflow.MlflowClient(address)
        assert described(client, experiments) == before
        mlflow.set_tracking_uri(address)
        moved = mlflow.pyfunc.load_model("models:/digits@champion").predict(PIXELS)
        pd.testing.assert_frame_equal(moved, answers)
        monkeypatch.setenv(
            "MLFLOW_TRACKING_URI", address
        )  # and runs continue there: new runs, experiments and versions
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "new things")
        train.main(root)
        evaluate.main(root)
        assert client.get_model_version_by_alias("digits", "champion").version == "2"
        assert len(client.search_experiments()) == 3


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)


def test_a_database_in_use_is_not_touched(root: Path, tmp_path: Path) -> None:
    """Also where all that it has is an experiment; the same code makes and reads an SQLite of MLflow's."""
    import mlflow

    store.prepare(root)
    database = f"sqlite:///{tmp_path}/team.db"
    client = mlflow.MlflowClient(database)
    client.create_experiment("theirs", "mlflow-artifacts:/theirs")
    with pytest.raises(ServerError, match=r"team.db has experiments already; a store can only be moved into an empty"):
        move.move(root, database)
    assert client.get_experiment_by_name("theirs") is not None


def test_a_missing_database_is_reported(root: Path) -> None:
    (root / "mlflow.db").touch()
    with pytest.raises(ServerError, match=r"postgresql\+psycopg://\S*127.0.0.1:\d+/mlflow cannot take the store"):
        move.move(root, f"postgresql+psycopg://me:secret@127.0.0.1:{free_port()}/mlflow")
    (root / "mlflow.db").unlink()
    with pytest.raises(ServerError, match=r"mlflow.db does not exist, so there is nothing to move"):
        move.move(root, "postgresql+psycopg://127.0.0.1/mlflow")
