"""`imagetrail server`: a real PostgreSQL and a real MLflow, and the pipeline against them."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from conftest import need, set_params
from test_stages import BIN, free_port

from imagetrail import postgres
from imagetrail.errors import ServerError
from imagetrail.server import serve
from stages import download, evaluate, preprocess, split, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow and torch.export warn of their own insides
]


@contextmanager
def running(folder: Path, port: int) -> Iterator[psutil.Process]:
    process = subprocess.Popen([BIN / "imagetrail", "server", "--port", str(port)], cwd=folder,
                               env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        gone, alive = psutil.wait_procs(children, timeout=20)
        assert len(gone) >= 3, "PostgreSQL and MLflow"
        assert alive == [], "something was left running"


def test_the_pipeline_runs_against_it_and_finds_its_runs_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_others_are_let_in_by_name_alone(root: Path) -> None:
    with pytest.raises(ServerError, match=r"--host 0\.0\.0\.0 lets others in, and --allowed-hosts is empty"):
        serve(root, "0.0.0.0", 5000, [])


def test_a_port_that_is_taken_is_said(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([BIN / "imagetrail", "server", "--port", str(port)], cwd=root, capture_output=True,
                              text=True, check=False, timeout=120)  # fmt: skip
    assert done.returncode == 2
    assert "in use" in done.stderr
