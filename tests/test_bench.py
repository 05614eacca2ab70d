"""The benchmark of a GPU, which few machines have, so that it runs when one is there; and the page of results."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cuda, figures, results
from bench.energy import Meter

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


def test_the_page_of_results_shows_the_records() -> None:
    assert results.PAGE.read_text(encoding="utf-8") == results.page(results.read()), "run make figures"


def test_the_readme_gives_the_accuracies_of_the_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    reached = {line.split("`")[1]: line.split("|")[-2] for line in readme if line.startswith("| `")}
    for seeds in results.rows(results.read()):
        if seeds[0].recipe != "default":  # no overlay, so the README has no row of it
            accuracy = f"{100 * statistics.mean(result.accuracy for result in seeds):.2f} %"
            assert accuracy in reached[seeds[0].recipe], seeds[0].row


def made_up(seed: int, accuracy: float) -> results.Result:
    overrides = {"download.path": f"{results.DATA}/mnist", "model.widths": "[8, 8]"}
    return results.Result(
        "mnist-cnn", "mnist", seed, overrides, "abc", accuracy, 1234, 5678, 100.0 + seed, None, "a CPU, 2 cores",
        "0123456789abcdef", "2026-11-27",
    )  # fmt: skip


def test_the_seeds_of_a_figure_are_one_row() -> None:
    text = results.page([made_up(0, 0.99), made_up(1, 0.98)])
    row = "| mnist-cnn | mnist | 98.50 ± 0.71 % | 0, 1 | 1,234 | 5,678 | 100 |  | a CPU, 2 cores (2026-11-27) |"
    assert row in text
    assert (
        "git checkout 0123456789ab && make setup && mlflow run . --env-manager local -P recipe=mnist-cnn "
        '-P train.seed=SEED -P download.path="$IMAGETRAIL_TEST_DATA/mnist" -P model.widths="[8, 8]"' in text
    )


def test_another_setting_is_another_figure() -> None:
    before = figures.Figure("mnist-cnn", "mnist").settings
    assert figures.Figure("mnist-cnn", "mnist").settings == before
    assert figures.Figure("mnist-cnn", "mnist", parameters={"train.epochs": "1"}).settings != before
    assert figures.Figure("mnist-tiny", "mnist").settings != before


def test_an_unknown_recipe_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGETRAIL_TEST_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["figures", "mnist-huge"])
    with pytest.raises(SystemExit, match="'mnist-huge' is not a recipe; `imagetrail recipe list` names them"):
        figures.main()


def test_the_counters_of_each_package_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for zone, name, value in (
        ("intel-rapl:0", "package-0", 900),
        ("intel-rapl:0:0", "core", 5),
        ("intel-rapl:1", "package-1", 0),
    ):
        (tmp_path / zone).mkdir()
        for file, text in (("name", name), ("energy_uj", str(value)), ("max_energy_range_uj", "999")):
            (tmp_path / zone / file).write_text(f"{text}\n")
    monkeypatch.setattr("bench.energy.COUNTERS", tmp_path)
    with Meter() as meter:
        (tmp_path / "intel-rapl:0/energy_uj").write_text("100")  # it wrapped around
        (tmp_path / "intel-rapl:1/energy_uj").write_text("50")
    assert meter.joules == pytest.approx((200 + 50) / 1e6)
    monkeypatch.setattr("bench.energy.COUNTERS", tmp_path / "none")
    with Meter() as meter:
        pass
    assert meter.joules is None
