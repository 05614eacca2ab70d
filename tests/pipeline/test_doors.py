"""Three doors, one result: the same overrides through params.yaml, `dvc exp run` and `mlflow run`."""

import shlex
from pathlib import Path

import pytest
from clones import (
    OWN_DATA,
    SMALL,
    contents,
    free_port,
    make_clone,
    mlflow_runs,
    project_run,
    ran,
    run,
    server,
    workspace_state,
    write_photos,
)
from ruamel.yaml import YAML
from support import git, set_params

from imagetrail.doors import mlflow_run
from imagetrail.errors import ImagetrailError
from imagetrail.files import artifacts
from imagetrail.params.load import load_params

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the client of MLflow warns of its own insides
]

TYPED = {
    "download.source": "csv",
    "download.table": "photos.csv",
    "download.image_column": "file name",
    "download.label_column": "my kind",
    "preprocess.image_size": "[16, 12]",
    "preprocess.channels": "3",
    "model.widths": "[8, 16]",
    "model.dropout": "0",
    "train.epochs": "2",
    "train.optimizer.weight_decay": "1e-5",
    "train.optimizer.amsgrad": "true",
    "train.schedule": "null",
    "train.loss.label_smoothing": "0.1",
}
NEW = {"train.optimizer.amsgrad", "train.loss.label_smoothing"}
"""Not in params.yaml: `dvc exp run` wants a plus before them."""


def typed(folder: Path) -> dict[str, str]:
    return {"download.path": str(folder), **TYPED}


def value(text: str) -> object:
    return YAML(typ="safe").load(text)


def outcome(logged) -> tuple[dict, dict, str]:
    """(parameters, figures, sha256 of the model) of a run, each value once parsed."""
    parameters = {
        name: value(shlex.split(text)[0] if text[:1] == "'" else text) for name, text in logged.data.params.items()
    }
    figures = {n: v for n, v in logged.data.metrics.items() if not n.startswith(("system/", "speed/"))}
    return (
        {name: found for name, found in parameters.items() if found is not None},
        figures,
        logged.data.tags["imagetrail.model_sha256"],
    )


def test_every_door_gives_the_same_run_for_the_same_overrides(tmp_path: Path) -> None:
    photos = tmp_path / "my photos"
    photos.mkdir()
    write_photos(photos, names=("file name", "my kind"))
    outcomes = {}

    folder = make_clone(tmp_path / "repro")
    set_params(folder, **{name.replace(".", "__"): value(text) for name, text in typed(photos).items()})
    run(folder, "dvc", "repro")
    (logged,) = mlflow_runs(folder)
    outcomes["dvc repro"] = outcome(logged)
    expected = load_params(folder).effective()
    assert outcomes["dvc repro"][0] == expected
    assert expected["train.optimizer.weight_decay"] == 1e-5
    assert expected["train.optimizer.amsgrad"] is True
    assert "train.schedule.name" not in expected
    assert expected["download.label_column"] == "my kind"

    # In a path with spaces and accents, another time zone and language, and with another hash seed.
    bytes_of_repro, folder = contents(folder), make_clone(tmp_path / "ein Pfad, größer")
    overrides = [f"--set-param={'+' * (name in NEW)}{name}={text}" for name, text in typed(photos).items()]
    run(folder, "dvc", "exp", "run", *overrides, TZ="Asia/Tokyo", LANG="C", LC_ALL="C", PYTHONHASHSEED="7")
    bytes_of_experiment = contents(folder)
    assert bytes_of_experiment.keys() == bytes_of_repro.keys()
    assert [name for name, data in bytes_of_repro.items() if bytes_of_experiment[name] != data] == []
    (logged,) = mlflow_runs(folder)
    outcomes["dvc exp run"] = outcome(logged)

    folder = make_clone(tmp_path / "project")
    before = (folder / "params.yaml").read_bytes()
    project_run(folder, *(f"{name}={text}" for name, text in typed(photos).items()))
    assert (folder / "params.yaml").read_bytes() == before
    assert git(folder, "status", "--short") == ""
    (logged,) = mlflow_runs(folder)
    outcomes["mlflow run PATH"] = outcome(logged)

    port, elsewhere = free_port(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    daemon = ("git", "daemon", "--export-all", "--reuseaddr", f"--base-path={tmp_path}", "--listen=127.0.0.1",
              f"--port={port}", str(tmp_path))  # fmt: skip
    with server(tmp_path, *daemon, port=port):
        uri = f"git://127.0.0.1:{port}/project"
        project_run(elsewhere, *(f"{name}={text}" for name, text in typed(photos).items()), uri=uri)
    (logged,) = mlflow_runs(elsewhere)
    outcomes["mlflow run URI"] = outcome(logged)
    assert logged.data.tags["mlflow.source.git.commit"] == git(folder, "rev-parse", "HEAD").strip()

    first = outcomes.pop("dvc repro")
    for door, (parameters, figures, model) in outcomes.items():
        assert parameters == first[0], door
        assert figures == first[1], door
        assert model == first[2], door


SECTIONS = ("download.fold_labels=true", "preprocess.image_size=12", "split.seed=1", "model.widths=[4]",
            "train.seed=1", "evaluate.mistakes=3", "machine.jobs=1")  # fmt: skip


def test_every_door_opens_three_times_for_a_change_in_each_section(fresh: Path) -> None:
    """With untracked data, which `mlflow run` copies; it computes, and the others find that in DVC's run cache.

    The second of two equal runs once failed on a directory that only the committed dvc.lock knows.
    """
    write_photos(fresh / "data/source")
    own_data = [part.split("=") for part in (*OWN_DATA, *SMALL) if part != "-S"]
    set_params(fresh, **{name.replace(".", "__"): value(text) for name, text in own_data})
    run(fresh, "git", "commit", "--quiet", "--all", "-m", "own data")
    models: dict[str, str] = {}
    for _ in range(3):
        for change in SECTIONS:
            before = workspace_state(fresh)
            project_run(fresh, change)
            assert workspace_state(fresh) == before
            name, text = change.split("=")
            set_params(fresh, **{name.replace(".", "__"): value(text)})
            repeated = [run(fresh, "dvc", "repro")]
            git(fresh, "checkout", "--quiet", ".")
            repeated.append(run(fresh, "dvc", "exp", "run", f"--set-param={change}"))
            assert [ran(done.stdout) for done in repeated] == [[], []]
            model = artifacts.read_card(fresh)["sha256"]
            assert models.setdefault(change, model) == model
            git(fresh, "checkout", "--quiet", ".")
    runs = mlflow_runs(fresh)
    assert {each.data.tags["imagetrail.model_sha256"] for each in runs} == set(models.values())
    assert {each.info.status for each in runs} == {"FINISHED"}
    assert {each.inputs.dataset_inputs[0].dataset.name for each in runs} == {"csv"}


def test_mlflow_run_rejects_data_outside_the_repository(reproduced: Path) -> None:
    with pytest.raises(ImagetrailError, match=r"download\.path = '\.\./elsewhere' leaves the repository"):
        mlflow_run.main(reproduced, ["--download.path", "../elsewhere"])


def test_mlflow_run_builds_the_locked_environment_with_uv(fresh: Path, tmp_path: Path) -> None:
    """Our code runs in it, and refuses a parameter before any stage."""
    settings = {"MLFLOW_ENV_ROOT": str(tmp_path / "environments"), "UV_PYTHON_DOWNLOADS": "never"}
    command = ("mlflow", "run", ".", "--env-manager", "uv", "-P", "train.epcohs=3")
    refused = run(fresh, *command, code=1, **settings)
    assert "did you mean 'epochs'?" in refused.stderr
    (python,) = (tmp_path / "environments").glob("*/bin/python")
    versions = run(
        fresh, str(python), "-c", "import torch, mlflow; print(torch.__version__, mlflow.__version__)"
    ).stdout
    lock = (fresh / "requirements.lock").read_text()
    torch, mlflow = versions.split()
    assert f"torch=={torch.partition('+')[0]} " in lock and f"mlflow=={mlflow} " in lock
