"""Runs of every door made again, and every ingredient damaged in turn."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clones import BIN, MAKE, environment, make_clone, project_run, run, write_photos
from support import PATIENCE, git, set_params

from imagetrail import programs
from imagetrail.errors import ArtifactError, ReproductionError
from imagetrail.reproduce import rerun, verdict
from imagetrail.reproduce.repeat import REPRODUCTIONS, Answer, reproduce
from imagetrail.tracking import record, registry
from imagetrail.tracking.record import Record

pytestmark = pytest.mark.xdist_group("reproduce")  # one process builds the fixtures of the module
slow = pytest.mark.slow
quiet = pytest.mark.filterwarnings("ignore")  # the client of MLflow warns of its own insides

SCALE = "git/untracked/src/imagetrail/model/networks/scale.py"
NETWORK = "src/imagetrail/model/networks/small_cnn.py"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with changed and with new code, own images, and a run of each door."""
    folder = make_clone(tmp_path_factory.mktemp("reproduce") / "clone")
    write_photos(folder / "data/source", 48)
    (folder / "src/imagetrail/model/networks/scale.py").write_text('"""Not in git."""\n\nSCALE = 0.5\n')
    text = (folder / NETWORK).read_text()
    text = text.replace(IMPORT, f"{IMPORT}\nfrom imagetrail.model.networks.scale import SCALE")
    (folder / NETWORK).write_text(text + CHANGE)
    (folder / "notes.bin").write_bytes(b"far too large for a run" * 600_000)
    set_params(
        folder, download__source="csv", download__table="photos.csv", download__image_column="file",
        download__label_column="kind", preprocess__image_size=16, model__widths=[8, 16], train__epochs=2,
        download__path=str(folder / "data/source"), download__weights=str(folder / "data/weights"),
    )  # fmt: skip
    (folder / "sweeps/tiny.yaml").write_text(
        "about: a test\nobjective: val_accuracy\nparameters:\n  train.optimizer.lr: {low: 1e-4, high: 1e-2}\n"
    )
    # With a cache that it shares, and places that stay as they are, DVC would have nothing to run in a worktree.
    run(folder, "dvc", "config", "cache.dir", str(folder.parent / "cache"))
    run(folder, "dvc", "repro", PYTHONPATH=str(folder / "src"))
    baseline = run_of(folder, "dvc repro")  # which the repetition's store does not have
    gate = f'evaluate.gate={{accuracy:0.01,recall:null,slice:null,ece:null,baseline:"{baseline}"}}'
    project_run(folder, "train.epochs=60", "model.dropout=0", "download.path=data/source", gate)
    run(folder, "imagetrail", "sweep", "tiny", "--trials", "1", "-S", "train.epochs=1", PYTHONPATH=str(folder / "src"))
    run(folder, "imagetrail", "sweep", "--folds", "2", "-S", "train.epochs=1", PYTHONPATH=str(folder / "src"))
    store = f"sqlite:///{folder.resolve()}/mlflow.db"
    run(folder, *MAKE, "repro", MLFLOW_TRACKING_URI=store, MLFLOW_EXPERIMENT_NAME="pulled")
    return folder


IMPORT = "from imagetrail.errors import TrainingError"
CHANGE = """

_forward = SmallCNN.forward
SmallCNN.forward = lambda self, images: _forward(self, images) * SCALE
"""
DOORS = {
    "dvc repro": lambda tags: not tags.keys() & {"imagetrail.sweep", "mlflow.project.entryPoint", "imagetrail.rebuilt"},
    "mlflow run": lambda tags: "mlflow.project.entryPoint" in tags,
    "sweep": lambda tags: tags.get("imagetrail.sweep", "").startswith("tiny") and "imagetrail.trial" not in tags,
    "trial": lambda tags: tags.get("imagetrail.trial") == "0",
    "folds": lambda tags: tags.get("imagetrail.sweep", "").startswith("2-folds") and "imagetrail.fold" not in tags,
    "fold": lambda tags: tags.get("imagetrail.fold") == "2/2",
    "rebuilt": lambda tags: tags.get("imagetrail.rebuilt") == "true",
}


def client(folder: Path):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{folder.resolve()}/mlflow.db")


def run_of(folder: Path, door: str) -> str:
    """The id of the run that came through a door."""
    experiments = [experiment.experiment_id for experiment in client(folder).search_experiments()]
    (run,) = (run for run in client(folder).search_runs(experiments) if DOORS[door](run.data.tags))
    return run.info.run_id


@slow
@quiet
@pytest.mark.parametrize("door", ["dvc repro", "sweep"])
def test_a_run_of_every_door_is_bit_identical(workplace: Path, door: str) -> None:
    before, run_id = git(workplace, "status", "--short"), run_of(workplace, door)
    done = run(workplace, "imagetrail", "reproduce", run_id[:12])
    assert f"({run_id[:8]}): bit-identical: " in done.stdout
    assert "device, threads, Python and all packages are as they were" in done.stdout
    assert "INFO mlflow" not in done.stderr
    assert client(workplace).get_run(run_id).data.tags["imagetrail.reproduction"].startswith("bit-identical")
    assert git(workplace, "status", "--short") == before
    assert git(workplace, "worktree", "list").count("\n") == 1
    assert list((workplace / REPRODUCTIONS).iterdir()) == []


SPLIT_AND_TRAIN = ["dvc", "repro", "--force", "--no-commit", "--single-item", "split", "train"]


@slow
@quiet
@pytest.mark.parametrize(
    ("door", "commands"),
    [
        ("trial", [SPLIT_AND_TRAIN]),
        ("folds", [["stages", "sweep", "--folds", "2", "--workers", "1"]]),
        ("rebuilt", [[*SPLIT_AND_TRAIN, "evaluate"]]),
    ],
)
def test_reproduce_runs_the_command_that_made_the_run(
    workplace: Path, tmp_path: Path, door: str, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands alone, for those doors whose stages the doors above have run already."""
    started: list[list[str]] = []
    monkeypatch.setattr(programs, "run", lambda root, *command, **_: started.append(list(command)))
    rerun.figures(workplace, Path("python"), record.read(workplace, run_of(workplace, door), tmp_path))
    assert started == commands


# --- every ingredient damaged -----------------------------------------------------------------------------------------


def artifact(folder: Path, run_id: str, name: str) -> Path:
    return folder / "mlruns/0" / run_id / "artifacts" / name


@contextmanager
def put_back(path: Path) -> Iterator[Path]:
    """A file that is as before after the block."""
    content = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(content)


def replaced(before: str, after: str):
    def damage(path: Path) -> None:
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    return damage


@slow
@quiet
@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("git/changes.patch", replaced("* SCALE", "* 2.0"),
         rf"{NETWORK} cannot be brought back as it was in run \w+: it was \w+, and what the run holds"),
        ("git/changes.patch", replaced("import TrainingError", "import Nothing"),
         r"the patch git/changes.patch of run \w+ does not apply"),
        ("git/changes.patch", Path.unlink,
         r"\S+ cannot be brought back as it was .* makes it as in its commit"),
        (SCALE, replaced("0.5", "0.25"), "scale.py cannot be brought back"),
        (SCALE, Path.unlink, r"scale.py cannot be brought .* as in its commit"),
        ("git/changed.json", Path.unlink, r"holds no git/changed.json, or a damaged one"),
        ("params.yaml", replaced("epochs: 2", "epochs: 3"),
         "is not the file that it logged: train.epochs is 3 in it, and 2 among the run's parameters"),
        ("params.yaml", replaced("train:", "train: ]"), r"is not the file that it logged\."),
        ("params.yaml", Path.unlink, "holds no params.yaml"),
        ("data/dataset.json", replaced('"sha256": "', '"sha256": "0'),
         r"not what it logged: sha256 0\w{7}, and the digest"),
        ("data/dataset.json", Path.unlink, "holds no data/dataset.json"),
        ("environment/requirements.txt", Path.unlink, "holds no environment/requirements.txt"),
    ],
)  # fmt: skip
def test_damaged_inputs_of_a_run_are_named(workplace: Path, name: str, damage, message: str) -> None:
    run_id = run_of(workplace, "dvc repro")
    with put_back(artifact(workplace, run_id, name)) as path:
        damage(path)
        with pytest.raises(ReproductionError, match=message):
            reproduce(workplace, run_id)


@slow
@quiet
@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"mlflow.source.git.commit": "0" * 40}, r"the commit 0{40} of run \w+ is not in this repository"),
        ({"mlflow.source.git.commit": None}, r"the run \w+ was made outside git"),
        ({"imagetrail.model_sha256": None}, r"came to no end, so there is nothing to compare"),
    ],
)
def test_an_incomplete_run_is_rejected(workplace: Path, tags: dict[str, str | None], message: str) -> None:
    run_id = run_of(workplace, "dvc repro")
    held = client(workplace).get_run(run_id).data.tags
    try:
        for name, value in tags.items():
            client(workplace).delete_tag(run_id, name)
            if value is not None:
                client(workplace).set_tag(run_id, name, value)
        with pytest.raises(ReproductionError, match=message):
            reproduce(workplace, run_id)
    finally:
        for name in tags:
            client(workplace).set_tag(run_id, name, held[name])


@slow
@quiet
def test_a_file_too_large_to_log_comes_from_the_workspace_if_unchanged(workplace: Path) -> None:
    run_id = run_of(workplace, "dvc repro")
    assert artifact(workplace, run_id, "git/left_out.txt").read_text() == "notes.bin\n"
    with put_back(workplace / "notes.bin") as notes:
        notes.write_bytes(b"other notes")
        with pytest.raises(ReproductionError, match=r"notes.bin cannot be brought back"):
            reproduce(workplace, run_id)


def refused(*_: object) -> None:
    raise ArtifactError("the store is away.")


@slow
@quiet
def test_changed_data_are_reported_before_training(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with put_back(workplace / "data/source/07.jpg") as picture:
        shutil.copy(workplace / "data/source/09.jpg", picture)
        done = run(workplace, "imagetrail", "reproduce", run_of(workplace, "dvc repro"), code=1)
    assert "different: the data: pixels, names or labels have changed, digest" in done.stdout
    assert "all packages" not in done.stdout, "nobody compared them"
    with put_back(workplace / "data/source/photos.csv") as table:
        table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
        monkeypatch.setattr(registry, "tag", refused)  # the store goes away meanwhile: the answer is not lost
        answer = reproduce(workplace, run_of(workplace, "dvc repro"))
    assert answer.found.first == "the data: shape was [48, 1, 16, 16] and is [47, 1, 16, 16]"
    assert not (answer.folder / "models").exists()
    assert "warning: the store is away" in capsys.readouterr().err


@slow
@quiet
def test_a_different_environment_is_installed_from_the_lock_and_reported(workplace: Path) -> None:
    run_id = run_of(workplace, "fold")
    with put_back(artifact(workplace, run_id, "environment/requirements.txt")) as path:
        lines = path.read_text().splitlines()
        path.write_text("\n".join("tqdm==1.0" if line.startswith("tqdm==") else line for line in lines))
        answer = reproduce(workplace, run_id)
    assert answer.found.word == "bit-identical"
    assert [line.partition(" and is")[0] for line in answer.found.surroundings] == ["tqdm was 1.0"]
    (environment,) = (workplace / ".imagetrail/environments").iterdir()
    assert (environment / "bin/python").exists()


@slow
@quiet
def test_an_interrupted_reproduction_resumes(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of `mlflow run`, whose checkpoints are beside the worktree, which is created again."""
    run_id = run_of(workplace, "mlflow run")
    kept = workplace / REPRODUCTIONS / f"{run_id}.checkpoints"
    command = [BIN / "imagetrail", "reproduce", run_id]
    process = subprocess.Popen(command, cwd=workplace, env=environment(), start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while not list(kept.glob("*/0000[2-6]*.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(kept.glob("*/*.pt"))

    measured, read = list[int](), record.only_run

    def only_run(root: Path, folder: Path) -> Record:
        (again,) = client(root).search_runs(["0"])
        speeds = client(root).get_metric_history(again.info.run_id, "speed/images_per_second")
        measured.extend(metric.step for metric in speeds)
        return read(root, folder)

    monkeypatch.setattr(record, "only_run", only_run)
    assert reproduce(workplace, run_id).found.word == "bit-identical"
    assert min(measured) > 20
    assert max(measured) == 60
    assert not kept.exists()


# --- the verdict ------------------------------------------------------------------------------------------------------


FIGURES = {
    "train/loss": {1: 0.5, 2: 0.25},
    "val/loss": {1: 0.6, 2: 0.3},
    "test/accuracy": {0: 0.9},
    "model/bytes": {0: 100.0},
}
TAGS = {"imagetrail.model_sha256": "a" * 64, "device": "a CPU", "python": "3.11.7"}


def made_up(files: Path, packages: str = "torch==2.15.0", **changes: object) -> Record:
    (files / "environment").mkdir(parents=True)
    (files / "environment/requirements.txt").write_text(f"imagetrail==0.1\nnumpy==2.4\n{packages}\n")
    values = {"id": "1", "name": "a run", "params": {"train.threads": "2"}, "digest": None, "files": files,
              "tags": TAGS, "figures": FIGURES}  # fmt: skip
    return Record(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "word", "first"),
    [
        ({}, "bit-identical", None),
        ({"figures": FIGURES | {"test/accuracy": {0: 0.905}}}, "equal", "test/accuracy was 0.9 and is 0.905"),
        ({"figures": FIGURES | {"test/accuracy": {0: 0.95}}}, "different", "test/accuracy was 0.9 and is 0.95"),
        ({"figures": FIGURES | {"val/loss": {1: 0.7, 2: 0.3}}}, "equal", "val/loss at step 1 was 0.6 and is 0.7"),
        ({"figures": FIGURES | {"val/loss": {1: 0.6}}}, "different", "val/loss at step 2 was 0.3 and is None"),
        ({"figures": {name: steps for name, steps in FIGURES.items() if name != "test/accuracy"}}, "different",
         "test/accuracy was 0.9 and is None"),
        ({"tags": TAGS | {"imagetrail.model_sha256": "b" * 64}, "figures": FIGURES | {"test/accuracy": {0: 0.901}}},
         "equal", f"the model's weights: sha256 was {'a' * 16} and is {'b' * 16}"),
        ({"tags": TAGS | {"imagetrail.model_sha256": "b" * 64},
          "figures": FIGURES | {"train/loss": {1: 0.51, 2: 0.2501}, "val/loss": {1: 0.61, 2: 0.3}}},
         "equal", "train/loss at step 1 was 0.5 and is 0.51"),
    ],
)  # fmt: skip
def test_the_verdict_names_the_first_difference(tmp_path: Path, changes: dict, word: str, first: str | None) -> None:
    found = verdict.of_runs(made_up(tmp_path / "1"), made_up(tmp_path / "2", **changes))
    assert (found.word, found.first, found.surroundings) == (word, first, [])


def test_portable_runs_must_come_back_bit_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"train.threads": "2", "train.arithmetic": "portable"}
    before = made_up(tmp_path / "1", params=params)
    after = made_up(tmp_path / "2", params=params, figures=FIGURES | {"test/accuracy": {0: 0.9000001}})
    found = verdict.of_runs(before, after)
    assert (found.word, found.first) == ("different", "test/accuracy was 0.9 and is 0.9000001")
    answer = Answer(before, found, tmp_path)
    assert answer.sentence.startswith("different, though train.arithmetic = 'portable': test/accuracy was 0.9")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert verdict.of_runs(before, after).word == "equal", "nothing is promised there"


def test_environments_are_compared(tmp_path: Path) -> None:
    tags = TAGS | {"device": "NVIDIA H100", "python": "3.12.1"}
    before = made_up(tmp_path / "1", "torch==2.14.0\ngone==1.0", tags=tags, params={"train.threads": "8"})
    found = verdict.of_runs(before, made_up(tmp_path / "2"))
    assert found.word == "bit-identical"
    assert found.surroundings == [
        "device was NVIDIA H100 and is a CPU", "threads was 8 and is 2", "Python was 3.12.1 and is 3.11.7",
        "torch was 2.14.0 and is 2.15.0", "gone was 1.0 and is absent",
    ]  # fmt: skip
