"""A training that several processes share gives the bytes of a single one, whoever dies on the way."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clones import environment, make_clone, mlflow_runs, run
from support import PATIENCE, set_params

from imagetrail.files import artifacts

pytestmark = pytest.mark.slow
TRAIN = ("python", "-m", "stages.train")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with tensors, whose batches are cut into four parts; batch normalisation, dropout, and a last batch."""
    clone = make_clone(tmp_path_factory.mktemp("processes") / "clone")
    set_params(clone, train__epochs=3, train__shards=4, train__arithmetic="native", model__widths=[4, 8])
    run(clone, "git", "commit", "--quiet", "--all", "-m", "small")
    run(clone, "dvc", "repro", "split")
    return clone


@pytest.fixture
def clone(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """The prepared clone itself, as it was."""
    yield prepared
    run(prepared, "git", "checkout", "--quiet", "params.yaml")
    for name in (artifacts.MODELS, artifacts.CHECKPOINTS):
        shutil.rmtree(prepared / name, ignore_errors=True)


def trained(clone: Path) -> dict[str, bytes]:
    paths = [*(clone / artifacts.MODELS).iterdir(), clone / "metrics/train.json", clone / "plots/history.csv"]
    return {path.name: path.read_bytes() for path in paths}


def start(clone: Path, processes: int) -> subprocess.Popen[bytes]:
    set_params(clone, machine__processes=processes)
    return subprocess.Popen(TRAIN, cwd=clone, env=environment(), start_new_session=True, stderr=subprocess.PIPE)


def wait_for_epochs(clone: Path, epochs: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not list((clone / artifacts.CHECKPOINTS).glob(f"*/{epochs:06d}-*.pt")):
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.01)


def test_the_number_of_processes_changes_no_bit(clone: Path) -> None:
    found, before = [], len(mlflow_runs(clone))
    for processes in (1, 2, 4):
        set_params(clone, machine__processes=processes)
        run(clone, *TRAIN)
        found.append(trained(clone))
    assert found[0] == found[1] == found[2]
    assert [r.info.status for r in mlflow_runs(clone)[before:]] == ["FINISHED"] * 3, "one process tracks"
    run(clone, "dvc", "commit", "--force", "train")
    set_params(clone, machine__processes=2)
    assert "train:" not in run(clone, "dvc", "status").stdout, "the number belongs to the machine"


def test_parts_change_the_weights(clone: Path) -> None:
    run(clone, *TRAIN)
    before = trained(clone)
    set_params(clone, train__shards=2)
    run(clone, *TRAIN)
    assert trained(clone)["model.safetensors"] != before["model.safetensors"]


def test_a_killed_worker_is_started_again_in_the_same_run(clone: Path) -> None:
    set_params(clone, train__epochs=20)
    run(clone, *TRAIN)
    wanted, before = trained(clone), len(mlflow_runs(clone))
    process = start(clone, 2)
    wait_for_epochs(clone, 2)
    children = psutil.Process(process.pid).children()
    workers = sorted((c for c in children if "stages.train" in c.cmdline()), key=lambda c: c.pid)
    assert len(workers) == 2
    workers[1].send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors.decode()
    assert b"restart 1" in errors
    assert b"Traceback" not in errors
    assert trained(clone) == wanted
    statuses = [r.info.status for r in mlflow_runs(clone)[before:]]
    assert statuses == ["FINISHED"], "the restarted processes went on in their run"


def test_a_killed_training_goes_on_with_another_number(clone: Path) -> None:
    set_params(clone, train__epochs=20)
    run(clone, *TRAIN)
    wanted = trained(clone)
    for processes, epochs in ((4, 2), (1, 5), (2, 8)):
        process = start(clone, processes)
        wait_for_epochs(clone, epochs)
        workers = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        gone, left = psutil.wait_procs(workers, timeout=PATIENCE)  # torchrun gives them sessions of their own
        assert not left, "they would write over the next training"
        assert len(gone) >= processes or processes == 1
    set_params(clone, machine__processes=1)
    run(clone, *TRAIN)
    assert trained(clone) == wanted


def test_a_mistake_is_told_once(clone: Path) -> None:
    set_params(clone, train__optimizer={"name": "SGD", "lr": 1e30}, train__schedule=None, machine__processes=2)
    done = run(clone, *TRAIN, code=2)
    assert done.stderr.count("train.optimizer.lr = 1e+30") == 1
    assert "Traceback" not in done.stderr
    assert "restart" not in done.stderr
