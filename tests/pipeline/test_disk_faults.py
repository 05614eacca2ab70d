"""A disk that fails at one write, fsync or rename: one sentence, nothing finished lost, and the next run is whole."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from support import REPOSITORY, make_root, need, set_params

from imagetrail.files import artifacts
from imagetrail.tracking import store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of its own insides


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(sys.platform == "linux" and shutil.which("gcc"), "Linux and gcc")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which all stages have run."""
    root = make_root(tmp_path_factory.mktemp("project"))
    set_params(root, train__epochs=2, model__widths=[4], machine__jobs=1)
    for stage in ("download", "preprocess", "split", "train", "evaluate"):
        assert run(root, stage).returncode == 0
    return root


def run(root: Path, stage: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'src'}"
    return subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"], cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip


def outputs(root: Path) -> dict[str, str]:
    files = (path for name in (*artifacts.OUTPUTS, artifacts.METRICS) for path in (root / name).rglob("*"))
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()
    }


def faults(root: Path, stage: str, shim: Path, place: str) -> Iterator[dict[str, str]]:
    """Yield the environments in which one call of the stage fails, on paths that begin with `place`."""
    counts = root / "fault-counts"
    base = {"LD_PRELOAD": str(shim), "FAULT_COUNTS": str(counts), "FAULT_BELOW": f"{root.resolve()}/{place}"}
    assert run(root, stage, **base).returncode == 0
    for line in counts.read_text().splitlines():
        kind, _, count = line.partition(" ")
        for number in sorted({1, (1 + int(count)) // 2, int(count)} if int(count) else ()):
            yield base | {"FAULT_KIND": kind, "FAULT_AT": str(number)}


@pytest.mark.parametrize(
    ("stage", "place"),
    [
        ("preprocess", "data/"), ("train", ".models"), ("train", ".imagetrail/checkpoints"), ("train", "mlruns"),
        ("train", "mlflow.db"), ("evaluate", "plots/"),
    ],
)  # fmt: skip
def test_one_failing_call_is_one_sentence_and_loses_nothing(project: Path, shim: Path, stage: str, place: str) -> None:
    before = outputs(project)
    for environment in faults(project, stage, shim, place):
        done = run(project, stage, **environment)
        what = f"{environment['FAULT_KIND']} {environment['FAULT_AT']}: {done.stderr}"
        assert done.returncode in (0, 2), what
        assert "Traceback" not in done.stderr, what
        assert outputs(project) == before, what
        assert not list(project.rglob(".*.tmp")), what
    again = run(project, stage)
    assert again.returncode == 0, again.stderr
    assert outputs(project) == before


def test_the_store_is_whole_after_the_faults(project: Path) -> None:
    store.adapt_mlflow()
    client = mlflow.MlflowClient(store.local(project))
    runs = client.search_runs(["0"])
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED"}
    assert any(run.info.status == "FINISHED" and "test/accuracy" in run.data.metrics for run in runs)
