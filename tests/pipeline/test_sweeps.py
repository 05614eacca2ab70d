"""Sweeps: what may be tried, the rows of cross-validation, and real trials that are pruned, killed and resumed."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import psutil
import pytest
from clones import mlflow_runs, project_run, run, write_small_space
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support import PATIENCE, REPOSITORY, need, set_params

from imagetrail.errors import DataError, ImagetrailError, ParamsError
from imagetrail.files import artifacts
from imagetrail.params.load import load_params
from imagetrail.server import postgres
from imagetrail.split import splits
from imagetrail.sweeps import folds, space, study, worker
from imagetrail.sweeps.design import Design, Folds, Search
from imagetrail.sweeps.space import Dimension
from imagetrail.sweeps.worker import Plan
from imagetrail.tracking import store
from stages import download, preprocess, split


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    shutil.copy(REPOSITORY / "params.yaml", root)
    for folder in ("recipes", "sweeps"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    (root / "data/source").mkdir(parents=True)
    native = {"train__arithmetic": "native"}  # workers that run in this process
    set_params(root, train__epochs=2, model__widths=[8], machine__jobs=1, train__threads=1, **native)
    for stage in (download, preprocess, split):
        stage.main(root)
    return root


# --- what may be tried ------------------------------------------------------------------------------------------------


def test_every_space_suggests_valid_parameters(digits: Path) -> None:
    from imagetrail.params import overrides

    for path in (REPOSITORY / "sweeps").glob("*.yaml"):
        found = space.read(REPOSITORY, path.stem)
        for seed in range(5):
            trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()
            drawn = found.draw(trial)
            assert found.values(trial.params) == drawn
            params = overrides.check(digits, overrides.of_values(drawn)).effective()
            assert {name: params[name] for name in drawn} == drawn


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train.optimizer.lr": {"low": 0.1}}, "must have low and high, with log or step, or only choices"),
        ({"train.optimizer.lr": {"low": 0.1, "high": 0.01}}, "low = 0.1 must be below high = 0.01"),
        ({"train.optimizer.lr": {"low": 0, "high": 1, "log": True}}, "log needs low above 0, and no step"),
        ({"train.epochs": {"choices": [1]}}, "at least 2 items"),
        ({"train.epochs": {"choices": [1, 2], "low": 1}}, "or only choices"),
        ({"train.epochs": {"lowest": 1, "high": 2}}, "lowest"),
        (
            {"preprocess.image_size": {"choices": [8, 16]}},
            "preprocess.image_size is not in the sections model and train",
        ),
        ({}, "at least 1 item"),
    ],
)
def test_a_wrong_space_is_rejected(root: Path, parameters: dict, message: str) -> None:
    (root / "sweeps").mkdir()
    tree = {"about": "x", "objective": "val_loss", "parameters": parameters}
    YAML().dump(tree, root / "sweeps/mine.yaml")
    with pytest.raises(ParamsError, match=r"sweeps/mine\.yaml is not a search space") as caught:
        space.read(root, "mine")
    assert message in str(caught.value)
    with pytest.raises(ParamsError, match="'min' is not a file of sweeps; did you mean 'mine'"):
        space.read(root, "min")


@settings(max_examples=30)
@given(st.floats(0.01, 1), st.integers(1, 20))
def test_stepped_values_are_short_decimals(step: float, count: int) -> None:
    step = round(step, 2)
    value = Dimension(low=0.0, high=100.0, step=step).value(step * count)
    assert len(repr(value)) <= 6


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"trials": 0}, "trials = 0"),
        ({"folds": 1}, "folds = 1"),
        ({"seeds": -1}, "seeds = -1"),
        ({"seeds": 2, "folds": 2}, "--folds and --seeds exclude each other"),
        ({"changes": {"split.val": "0.1"}}, "split.val is not in the sections model and train"),
        ({"changes": {"train.epcohs": "3"}}, "did you mean 'epochs'"),
    ],
)
def test_a_wrong_sweep_is_rejected_before_anything_runs(digits: Path, request_: dict, message: str) -> None:
    values = {"space": "default", "folds": 0, "seeds": 0, "trials": 3, "workers": 1, "changes": {}, "storage": None}
    values |= request_
    with pytest.raises(ParamsError) as caught:
        study.run(digits, study.Request(**values))
    assert message in str(caught.value)
    assert not (digits / ".imagetrail").exists()


@pytest.mark.parametrize("address", ["nonsense", "nosuch://a/b", "postgresql+psycopg://me:secret@127.0.0.1:1/x"])
def test_a_storage_that_cannot_be_opened_is_one_sentence(address: str) -> None:
    with pytest.raises(
        ImagetrailError, match=r"^the sweep's storage .* cannot be opened \(.*correct --storage\.$"
    ) as caught:
        worker.open_storage(address)
    assert "secret" not in str(caught.value)


# --- the rows of cross-validation -------------------------------------------------------------------------------------


def test_folds_cover_all_rows_except_test_and_keep_groups_whole(digits: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(digits, tmp_path / "grouped"))
    rows = list(artifacts.read_tensor_rows(root))
    grouped = [row._replace(group=f"person {number // 7}") for number, row in enumerate(rows)]
    table = root / artifacts.TENSORS / "rows.csv"
    artifacts.write_rows(table, artifacts.TensorRow._fields, grouped)
    dataset = replace(artifacts.read_dataset(root), sha256=artifacts.file_sha256(table))
    artifacts.write_dataset(root / artifacts.TENSORS / "dataset.json", dataset)
    split.main(root)
    sides = {name: np.load(root / f"data/split/{name}.npy") for name in ("train", "val", "test")}
    everything = np.sort(np.concatenate([sides["train"], sides["val"]]))
    _, units = splits.belonging(root, load_params(root).split)
    validated = []
    for fold in range(5):
        train, val = folds.subsets(root, fold, 5, load_params(root).split)
        assert np.array_equal(np.sort(np.concatenate([train.rows, val.rows])), everything)
        assert not set(units[train.rows]) & set(units[val.rows])
        assert not set(sides["test"]) & set(val.rows)
        assert np.bincount(val.labels[val.rows], minlength=10).min() > 10, "stratified"
        validated.append(val.rows)
    assert np.array_equal(np.sort(np.concatenate(validated)), everything), "each row validates once"
    with pytest.raises(DataError, match=r"the class '\d' has \d+ rows for train and validation, too few for 500 folds"):
        folds.subsets(root, 0, 500, load_params(root).split)


# --- real trials ------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.xdist_group("sweeps")  # one process builds the fixtures of the module
slow = pytest.mark.slow
quiet = pytest.mark.filterwarnings("ignore")  # MLflow, Optuna and torch.export warn of their own insides


def search(root: Path, trials: int) -> Search:
    found = space.read(root, "default")
    dimension = {"train.optimizer.lr": Dimension(low=0.0001, high=0.1, log=True)}
    return Search(name="default", trials=trials, space=found.model_copy(update={"parameters": dimension}))


def plan(root: Path, design: Design, changes: Sequence[str] = ("++model.widths=[8]",)) -> Plan:
    (root / ".imagetrail").mkdir(exist_ok=True)
    address = f"sqlite:///{root}/.imagetrail/sweeps.db"
    return Plan(root=str(root), study="test", storage=address, changes=list(changes), design=design, workers=1)


@slow
@quiet
def test_workers_never_read_the_test_rows(digits: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(digits, tmp_path / "repository"))
    (root / "data/split/test.npy").unlink()
    before = (root / "params.yaml").read_bytes()
    worker.work(plan(root, search(root, 3)), 0)
    trials = worker.open_study(plan(root, search(root, 3)), 0).get_trials()
    assert [t.state.name for t in trials] == ["COMPLETE"] * 3
    runs = {r.info.run_id: r for r in mlflow_runs(root)}
    for trial in trials:
        logged = runs[trial.user_attrs["run"]]
        assert logged.info.status == "FINISHED"
        assert logged.data.metrics["model/val_accuracy"] == trial.value
        assert float(logged.data.params["train.optimizer.lr"]) == trial.params["train.optimizer.lr"]
        assert not [name for name in logged.data.metrics if name.startswith("test/")]
        assert logged.outputs.model_outputs
    assert not (root / "models").exists()
    assert (root / "params.yaml").read_bytes() == before


@slow
@quiet
def test_bad_trials_are_pruned_and_failed_trials_reported(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(digits, tmp_path / "repository"))
    tried = plan(root, search(root, 7))
    opened = worker.open_study(tried, 0)
    for lr in (0.01, 0.011, 0.012, 0.013, 0.014, 0.0001):
        opened.enqueue_trial({"train.optimizer.lr": lr})
    opened.enqueue_trial({"train.optimizer.lr": 0.02})
    set_params(root, train__clip_grad_norm=None)
    worker.work(tried, 0)
    states = [t.state.name for t in opened.get_trials()]
    assert states[:6] == ["COMPLETE"] * 5 + ["PRUNED"]
    pruned = next(r for r in mlflow_runs(root) if r.data.tags.get("imagetrail.trial") == "5")
    assert pruned.info.status == "KILLED"
    impossible = plan(root, search(root, 8), ["++model.widths=[8,8,8,8,8]"])
    worker.work(impossible, 0)
    failed = opened.get_trials()[-1]
    assert failed.state.name == "FAIL"
    assert "too small for the 5 blocks" in failed.user_attrs["failure"]
    assert "trial 7 failed: " in capsys.readouterr().err


@slow
@quiet
def test_workers_of_two_clones_share_a_study_and_retry_what_a_killed_one_left(
    reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clones, one PostgreSQL: the second joins, one of its workers is killed, and its trial is tried again."""
    need(any(Path("/usr/lib/postgresql").glob("*/bin/initdb")), "PostgreSQL")
    write_small_space(reproduced)
    other = Path(shutil.copytree(reproduced, tmp_path / "other", symlinks=True))
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("MLFLOW_", "DVC_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    deadline = time.monotonic() + PATIENCE
    with postgres.running(tmp_path / "postgres") as storage:
        command = [str(Path(sys.executable).with_name("imagetrail")), "sweep", "small", "--storage", storage,
                   "-S", "train.epochs=12", "-S", "train.threads=1"]  # fmt: skip
        early = run(other, *command, "--join", code=2)
        assert "holds no sweep small-" in early.stderr
        first = subprocess.Popen([*command, "--trials", "10"], cwd=reproduced, env=environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)  # fmt: skip

        while not (names := optuna.get_all_study_names(storage)):
            assert time.monotonic() < deadline
            assert first.poll() is None, first.communicate()
            time.sleep(0.2)
        opened = optuna.load_study(study_name=names[0], storage=storage)
        second = subprocess.Popen([*command, "--join", "--workers", "2"], cwd=other, env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

        def busy() -> list[psutil.Process]:
            """The second clone's workers that have begun a trial and drawn its parameters."""
            running = " ".join(
                t.user_attrs.get("process", "") for t in opened.get_trials() if t.state.name == "RUNNING" and t.params
            )
            return [c for c in psutil.Process(second.pid).children() if f"|{c.pid}|" in running]

        while not (workers := busy()):
            assert time.monotonic() < deadline
            assert second.poll() is None, second.communicate()
            time.sleep(0.05)
        workers[0].kill()
        outputs = [process.communicate(timeout=PATIENCE) for process in (first, second)]
        assert [first.returncode, second.returncode] == [0, 0], outputs
        assert "was killed by signal 9" in outputs[1][1]
        found = opened.get_trials()
    counted = worker.taken(found)
    assert len(counted) == 10, "neither more nor fewer"
    assert all("best of 10 trials" in output for output, _ in outputs)
    killed = [t for t in found if t.state.name == "FAIL" and f"|{workers[0].pid}|" in t.user_attrs.get("process", "")]
    assert killed
    assert [t for t in counted if t.params == killed[0].params], "it was tried again"
    hosts = {t.user_attrs["process"].split("|")[1] for t in counted}
    assert len(hosts) > 1, "both clones worked"


@slow
@quiet
def test_a_worker_waits_for_no_trial_that_was_killed_before_it_named_its_process(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE", 1)
    root = Path(shutil.copytree(digits, tmp_path / "repository"))
    tried = plan(root, search(root, 2))
    opened = worker.open_study(tried, 0)
    opened.enqueue_trial({"train.optimizer.lr": 0.0123})
    opened.ask()
    worker.work(tried, 0)
    lost, *others = opened.get_trials()
    assert lost.state.name == "FAIL"
    assert [t.state.name for t in others] == ["COMPLETE"] * 2
    assert others[-1].params == {"train.optimizer.lr": 0.0123}, "what it was queued with"


@slow
@quiet
def test_a_killed_sweep_resumes(reproduced: Path) -> None:
    write_small_space(reproduced)
    command = [sys.executable, "-m", "stages", "sweep", "--space", "small", "--trials", "4", "--workers", "2",
               "--train.epochs", "3", "--train.threads", "1"]  # fmt: skip
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("MLFLOW_", "DVC_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    store.prepare(reproduced)  # so that the test does not begin it beside the sweep
    begin = partial(subprocess.Popen, command, cwd=reproduced, env=environment, start_new_session=True)
    deadline = time.monotonic() + PATIENCE

    process = begin(stderr=subprocess.PIPE, text=True)
    while not any("imagetrail.trial" in run.data.tags for run in mlflow_runs(reproduced)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for child in psutil.Process(process.pid).children():
        if "imagetrail.sweeps.worker" in child.cmdline():
            child.kill()
    _, words = process.communicate()
    assert process.returncode == 2
    assert re.search(r"a worker of the sweep was killed by signal 9[^;]*; the same command resumes", words)

    process = begin()

    def finished() -> int:
        runs = mlflow_runs(reproduced)
        return sum(r.info.status == "FINISHED" and "imagetrail.trial" in r.data.tags for r in runs)

    while finished() < 1:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    output = subprocess.run(command, cwd=reproduced, env=environment, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    assert "best of 4 trials" in output.stdout
    runs = mlflow_runs(reproduced)
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert parent.info.status == "FINISHED"
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert not [r for r in runs if r.info.status == "RUNNING"], "the killed ones are marked"
    whole = {r.info.run_id: r.data.metrics["model/val_accuracy"] for r in children if r.info.status == "FINISHED"}
    # A trial that was killed between its run's end and the study's note of it has a finished run, and is repeated.
    table = reproduced / "mlruns/0" / parent.info.run_id / "artifacts/sweep/trials.csv"
    with table.open(newline="") as file:
        counted = [row["run"] for row in csv.DictReader(file) if row["state"] == "COMPLETE"]
    assert parent.data.metrics["sweep/complete"] == len(counted) == len(set(counted))
    assert set(counted) <= whole.keys()
    assert len(whole) - len(counted) <= 2, "the two that were killed"
    assert parent.data.metrics["sweep/best"] == max(whole[run_id] for run_id in counted)


@slow
@quiet
def test_mlflow_run_sweeps_and_apply_writes_the_winner(reproduced: Path) -> None:
    write_small_space(reproduced)
    project_run(reproduced, "space=small", "trials=2", "train.epochs=1", entry="sweep")
    runs = mlflow_runs(reproduced)
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id}
    assert len(children) == 2
    assert all(r.info.status == "FINISHED" for r in runs)
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{reproduced.resolve()}/mlflow.db")
    names = {file.path for file in client.list_artifacts(parent.info.run_id, "sweep")}
    assert {"sweep/history.png", "sweep/trials.csv", "sweep/request.json"} <= names
    table = Path(client.download_artifacts(parent.info.run_id, "sweep/trials.csv"))
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["run"] for line in lines} == {r.info.run_id for r in children}

    before = (reproduced / "params.yaml").read_text()
    text = run(reproduced, "imagetrail", "sweep", "small", "--trials", "2", "-S", "train.epochs=1", "--apply").stdout
    assert "best of 2 trials" in text, "nothing was run again"
    assert len(mlflow_runs(reproduced)) == 3
    after = (reproduced / "params.yaml").read_text()
    assert after.count("#") == before.count("#"), "comments are kept"
    winner = parent.data.tags["imagetrail.best_run_id"]
    best = next(r for r in children if r.info.run_id == winner)
    tree = YAML(typ="safe").load(after)
    assert tree["train"]["optimizer"]["lr"] == float(best.data.params["train.optimizer.lr"])
    assert tree["model"]["widths"] == json.loads(best.data.params["model.widths"])
    assert tree["train"]["epochs"] == 1


@slow
@quiet
def test_cross_validation_gives_mean_and_spread(digits: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(digits, tmp_path / "repository"))
    tried = plan(root, Folds(name="3-folds", trials=3))
    opened = worker.open_study(tried, 0)
    tried.design.queue(opened, [])
    tried.design.queue(opened, opened.get_trials())  # again, which adds none
    worker.work(tried, 0)
    outcome = study.Outcome.of(opened, tried)
    runs = mlflow_runs(root)
    assert sorted(r.data.tags["imagetrail.fold"] for r in runs) == ["1/3", "2/3", "3/3"]
    values = [r.data.metrics["model/val_accuracy"] for r in runs]
    mean, spread = np.mean(values), np.std(values, ddof=1)
    assert outcome.figures == pytest.approx({"folds/val_accuracy_mean": mean, "folds/val_accuracy_std": spread})
    assert f"3 of 3 folds: validation accuracy {mean:.4f}" in outcome.summary()


@slow
@quiet
def test_replicates_are_tested_under_their_seeds_and_compared(reproduced: Path) -> None:
    """Several seeds are a run of their own, which grows when more are asked for, and which compare takes."""
    from imagetrail.evaluate import answers

    sweep = partial(run, reproduced, "imagetrail", "sweep", "--seeds")
    first = sweep("2", "-S", "train.epochs=1").stdout
    assert re.search(r"2 of 2 seeds: test accuracy 0\.\d{4} ± .* 95% interval over seeds and images: 0\.", first)
    assert "3 of 3 seeds" in sweep("3", "-S", "train.epochs=1").stdout
    sweep("2", "-S", "train.epochs=1", "-S", "train.optimizer.lr=0.00001")
    runs = mlflow_runs(reproduced)
    parents = {r.info.run_name: r for r in runs if "imagetrail.replicates" in r.data.tags}
    assert set(parents) == {"3 seeds", "2 seeds"}
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents["3 seeds"].info.run_id]
    assert sorted(r.data.params["train.seed"] for r in children) == ["0", "1", "2"], "the first two were there"
    accuracies = [r.data.metrics["test/accuracy"] for r in children]
    logged = parents["3 seeds"].data.metrics
    assert logged["seeds/test_accuracy_mean"] == pytest.approx(np.mean(accuracies))
    assert logged["seeds/test_accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert logged["seeds/test_accuracy_low"] < logged["seeds/test_accuracy_mean"] < logged["seeds/test_accuracy_high"]
    for child in children:
        folder = reproduced / "mlruns/0" / child.info.run_id / "artifacts/evaluation"
        assert answers.read(folder / "predictions.parquet").correct.mean() == child.data.metrics["test/accuracy"]
    text = run(reproduced, "imagetrail", "compare", *(parents[f"{n} seeds"].info.run_id for n in (3, 2))).stdout
    assert "the second is significantly less accurate (t-test over 3 and 2 trainings and the images, p = " in text
    mixed = run(reproduced, "imagetrail", "compare", children[0].info.run_id, parents["3 seeds"].info.run_id).stdout
    assert "not significant (t-test over 1 and 3 trainings and the images, p = " in mixed
