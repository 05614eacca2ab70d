"""The benchmark of a GPU, which few machines have, so that it runs when one is there."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import cuda

slow = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def test_the_gpu_benchmark_needs_no_package_that_a_bare_machine_lacks() -> None:
    code = "import sys; from bench import cuda; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONPATH": "src:."}
    )
    assert "torch" in done.stdout
    assert not [
        name for name in ("mlflow", "dvc", "pandas", "sklearn", "skimage", "optuna") if f"'{name}'" in done.stdout
    ]


@slow
def test_the_gpu_benchmark_runs_with_the_cpu_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "WORKERS", 1)
    monkeypatch.setattr(cuda, "ROUNDS", 1)
    rows = cuda.measure(str(tmp_path), "cpu", share=0.003)
    assert len(rows) == 4 + 2 * len(cuda.CASES)
    assert all(row.held for row in rows[:4]), "the CPU agrees with itself"
    assert (tmp_path / "models/model.safetensors").is_file()
    assert "the saved model, loaded" in (tmp_path / "cuda.md").read_text()
