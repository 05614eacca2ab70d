"""Portable arithmetic: this processor and two emulated ones give the same bytes. Emulated arithmetic is IEEE-exact."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clones import contents, environment, make_clone, run
from support import PATIENCE, need, set_params

from imagetrail.files import artifacts
from imagetrail.model import arithmetic

pytestmark = pytest.mark.slow
PROCESSORS = {"Nehalem": "Intel, 2008, no AVX", "EPYC-Rome": "AMD, 2019, AVX2"}
OPERATIONS = Path(__file__).with_name("operations.py")
NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""A store that does not answer: emulated exports of the model would take minutes and prove nothing."""


def emulated(processor: str) -> list[str]:
    need(shutil.which("qemu-x86_64"), "qemu-user")
    return ["qemu-x86_64", "-cpu", processor]


def operations(*before: str, without: str = "") -> list[str]:
    command = [*before, sys.executable, str(OPERATIONS)]
    variables = {name: value for name, value in arithmetic.environment("portable").items() if name != without}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def hashes() -> list[str]:
    """Of every operation, on this processor."""
    found = operations()
    assert len(found) > 70
    return found


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_operation_gives_the_same_bits(processor: str, hashes: list[str]) -> None:
    assert operations(*emulated(processor)) == hashes


@pytest.mark.parametrize("variable", sorted(arithmetic.ENVIRONMENT.keys() - {"OPENBLAS_NUM_THREADS"}))
def test_each_variable_is_needed_on_a_newer_processor(variable: str, hashes: list[str]) -> None:
    """So the proof above can fail. OPENBLAS_NUM_THREADS showed no effect; it guards against the number of cores."""
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no kernels that round differently")
    assert operations(without=variable) != hashes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = make_clone(tmp_path_factory.mktemp("portable") / "clone")
    set_params(clone, train__epochs=2, train__shards=2, model__widths=[4, 8], split__test=0.1, split__val=0.1)
    run(clone, "dvc", "repro", "split")
    return clone


def outputs(clone: Path) -> dict[str, bytes]:
    return {name: file for name, file in contents(clone).items() if name.startswith(("models/", "metrics/", "plots/"))}


@pytest.fixture(scope="module")
def here(prepared: Path) -> dict[str, bytes]:
    """What `train` and `evaluate` write on this processor; each starts itself again in its environment."""
    for stage in ("train", "evaluate"):
        run(prepared, sys.executable, "-m", f"stages.{stage}", **NOWHERE)
    found = outputs(prepared)
    assert {"models/model.safetensors", "metrics/test.json", "plots/mistakes.png"} <= found.keys()
    return found


@pytest.mark.parametrize("processor", PROCESSORS)
def test_train_and_evaluate_write_the_same_bytes(
    processor: str, prepared: Path, here: dict[str, bytes], tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(prepared, clone, symlinks=True)
    for folder in (artifacts.MODELS, artifacts.METRICS, artifacts.CHECKPOINTS):
        shutil.rmtree(clone / folder, ignore_errors=True)
    for stage in ("train", "evaluate"):
        run(
            clone, *emulated(processor), sys.executable, "-m", f"stages.{stage}",
            **environment(**arithmetic.ENVIRONMENT, **NOWHERE),
        )  # fmt: skip
    found = outputs(clone)
    assert {name for name in here if found.get(name) != here[name]} == set()


def test_native_arithmetic_gives_other_bits(prepared: Path, here: dict[str, bytes], tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(prepared, clone, symlinks=True)
    set_params(clone, train__arithmetic="native")
    run(clone, sys.executable, "-m", "stages.train", **NOWHERE)
    assert outputs(clone)["models/model.safetensors"] != here["models/model.safetensors"]


def test_a_process_without_the_environment_is_refused(prepared: Path) -> None:
    code = "from stages import train; from imagetrail.errors import guard; guard(train.main)"
    done = run(prepared, sys.executable, "-c", code, code=2, **NOWHERE, PYTHONPATH=os.pathsep.join([".", "src"]))
    assert "train.arithmetic = 'portable' needs a process that starts with its environment" in done.stderr
