"""Checkouts in unusual places, and data that DVC tracks inside them."""

import shutil
from pathlib import Path

import pytest
from clones import SMALL, make_clone, mlflow_runs, project_run, run, write_photos
from support import git

from imagetrail.reproduce import checkout
from imagetrail.tracking import store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of its own insides


def test_a_project_below_a_repository_runs_and_moves(tmp_path: Path) -> None:
    """With letters beyond ASCII, and characters that mean something in an address, in its path."""
    top = tmp_path / "josé %20?#"
    project = make_clone(top / "project")
    shutil.rmtree(project / ".git")
    for command in ("init --quiet", "add -A", "commit --quiet -m all"):
        run(top, "git", *command.split())
    project_run(project, "train.epochs=1", "model.widths=[4]", "preprocess.image_size=8")
    (logged,) = mlflow_runs(project)
    assert logged.info.status == "FINISHED"
    assert list((project / "mlruns").rglob("model.safetensors")), "artifacts are beside their store"

    shutil.move(top, tmp_path / "moved")
    moved = tmp_path / "moved/project"
    run(moved, "dvc", "repro", "download")
    image = "data/raw/images/digit-0000.png"
    answered = run(moved, "imagetrail", "predict", "--run", logged.info.run_id, image)
    assert image in answered.stdout
    assert "mlflow.db was made beside" in answered.stderr
    assert mlflow_runs(moved)[0].info.artifact_uri.startswith(f"{moved}/mlruns/")
    assert not top.exists()


def test_mlflow_run_and_reproduce_work_below_a_repository(tmp_path: Path) -> None:
    project = make_clone(tmp_path / "top/project")
    shutil.rmtree(project / ".git")
    for command in ("init --quiet", "add -A", "commit --quiet -m all"):
        run(tmp_path / "top", "git", *command.split())
    (project / "note.txt").write_text("untracked")
    git(project, "init", "--quiet", "other")
    run(project, "git", "-C", "other", "commit", "--quiet", "--allow-empty", "-m", "a repository inside")
    project_run(project, *(part.removeprefix("-S") for part in SMALL if part != "-S"))
    (logged,) = mlflow_runs(project)
    assert git(tmp_path / "top", "status", "--short").splitlines() == ["?? project/note.txt", "?? project/other/"]
    assert "bit-identical" in run(project, "imagetrail", "reproduce", logged.info.run_id).stdout


def test_dvc_works_in_the_worktree_of_a_submodule(tmp_path: Path) -> None:
    """A repetition runs there. Without this setting DVC takes it for a folder outside the repository."""
    source, top = make_clone(tmp_path / "source"), tmp_path / "top"
    git(tmp_path, "init", "--quiet", "top")
    git(top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), "project")
    git(top / "project", "worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"))
    assert "outside of git repository" in run(tmp_path / "worktree", "dvc", "stage", "list", code=255).stderr
    (tmp_path / "worktree/.dvc/config.local").write_text(checkout.WITHOUT_GIT)
    assert "download" in run(tmp_path / "worktree", "dvc", "stage", "list").stdout


def test_added_data_are_pushed_and_pulled(tmp_path: Path) -> None:
    first = make_clone(tmp_path / "first")
    (first / "data/source/photos").mkdir()
    write_photos(first / "data/source/photos")
    (first / "data/source/photos/photos.csv").rename(first / "data/source/photos.csv")
    run(first, "dvc", "add", "data/source/photos", "data/source/photos.csv")
    run(first, "dvc", "remote", "add", "--default", "elsewhere", str(tmp_path / "remote"))
    run(first, "git", "add", "-A")
    run(first, "git", "commit", "--quiet", "-m", "data")
    run(first, "dvc", "push")
    git(tmp_path, "clone", "--quiet", str(first), "second")
    run(tmp_path / "second", "dvc", "pull", "data/source/photos.dvc", "data/source/photos.csv.dvc")
    for name in ("photos.csv", "photos/00.png", "photos/23.jpg"):
        there = tmp_path / "second/data/source" / name
        assert there.read_bytes() == (first / "data/source" / name).read_bytes()
    assert "up to date" in run(first, "dvc", "status", "data/source/photos.dvc").stdout


def test_a_queued_experiment_without_its_data_says_how_to_bring_them(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    write_photos(clone / "data/source")
    done = run(clone, "dvc", "exp", "run", "--temp", "-S", "download.source=folder", code=255)
    assert "data/source is empty in this temporary copy" in done.stderr
    assert "--copy-paths data/source/00.png" in done.stderr


@pytest.mark.parametrize("name", ["plain", "a%20b", "what?", "hash#", "é ü"])
def test_a_store_writes_beside_itself_wherever_it_is(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / name
    root.mkdir()
    uri, experiment = store.prepare(root)
    import mlflow

    client = mlflow.MlflowClient(uri)
    created = client.create_run(experiment)
    client.log_text(created.info.run_id, "x", "note.txt")
    assert [path.read_text() for path in root.rglob("note.txt")] == ["x"]
    assert {path.name for path in root.iterdir()} == {".imagetrail", "mlflow.db", "mlruns"}
    assert [path.name for path in tmp_path.iterdir()] == [name]

    moved = tmp_path / f"{name} moved"
    root.rename(moved)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow sets it
    client = mlflow.MlflowClient(store.prepare(moved)[0])
    from mlflow.utils.file_utils import local_file_uri_to_path

    place = Path(local_file_uri_to_path(client.get_run(created.info.run_id).info.artifact_uri))
    assert place.is_relative_to(moved)
    assert (place / "note.txt").read_text() == "x"
    client.log_text(client.create_run(experiment).info.run_id, "y", "other.txt")
    assert [path.read_text() for path in moved.rglob("other.txt")] == ["y"]
    assert not root.exists()
