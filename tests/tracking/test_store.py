"""The default store: created whole or not at all, and found from every folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from imagetrail.tracking import store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of its own insides


def half_made(database: Path, *, runs: int = 0) -> None:
    """A database as a kill in the middle of MLflow's migrations leaves it."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('451aebb31d03')")
        connection.execute("CREATE TABLE runs (run_uuid VARCHAR(32))")
        connection.execute("CREATE TABLE _alembic_tmp_params (key VARCHAR(250))")
        for number in range(runs):
            connection.execute("INSERT INTO runs VALUES (?)", (str(number),))


def test_a_half_made_database_without_runs_is_set_aside(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half_made(root / "mlflow.db")
    assert store.prepare(root)[1] == "0"
    assert (root / "mlflow.db.half-made").is_file()
    assert "was half made and holds no runs" in capsys.readouterr().err


def test_a_database_with_runs_is_never_set_aside(root: Path) -> None:
    half_made(root / "mlflow.db", runs=1)
    with pytest.raises(SQLAlchemyError):
        store.prepare(root)
    assert not (root / "mlflow.db.half-made").exists()
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_artifacts_that_the_user_keeps_elsewhere_stay_there(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk/mlruns"
    elsewhere.mkdir(parents=True)
    store.create_tables(store.local(root), str(elsewhere))
    store.follow(root.resolve() / "mlflow.db")
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        (place,) = connection.execute("SELECT artifact_location FROM experiments").fetchone()
        assert place == f"{elsewhere}/0"
        connection.execute("DELETE FROM experiments")
    store.follow(root.resolve() / "mlflow.db")


def test_a_kill_while_the_database_is_created_leaves_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(database: str, _: str) -> None:
        half_made(Path(database.removeprefix(store.SQLITE)))
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "create_tables", killed)
    with pytest.raises(KeyboardInterrupt):
        store.prepare(root)
    assert not list(root.glob("*mlflow.db*")) and not list(root.glob(".mlflow.db*"))


def test_a_relative_database_is_in_the_workspace_of_a_queued_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "workspace"))
    assert store.uri(tmp_path / "temporary") == f"sqlite:///{(tmp_path / 'workspace/other.db').resolve()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////var/other.db")
    assert store.uri(tmp_path) == "sqlite:////var/other.db"
