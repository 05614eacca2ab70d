"""Choose the MLflow store, and create the default one.

The default is SQLite at the repository's root by absolute path, so that `mlflow ui`, queued experiments in temporary
folders and `mlflow run` meet in one table. MLFLOW_TRACKING_URI, when set, wins.
"""

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

from imagetrail.addresses import shown
from imagetrail.console import warn
from imagetrail.errors import ArtifactError
from imagetrail.files import artifacts
from imagetrail.tracking import shared_view

SQLITE = "sqlite:///"
DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's tables keep paths of artifacts."""

ATTEMPTS = 3
"""To open a database."""

# An unreachable server must cost a training seconds, not the minutes of MLflow's defaults; and MLflow's progress
# reports would bury the pipeline's. The user's settings win.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "7",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def configure() -> None:
    """Apply SETTINGS, before MLflow is imported, which reads some of them on import."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def adapt_mlflow() -> None:
    """Let MLflow give up on a database after seconds instead of two minutes, and hide its tracebacks.

    It also makes the parent of a database, but does not decode its address: a folder `a%b` would get a sibling `a%25b`.
    """
    import logging

    from mlflow.store.db import utils

    os.environ.setdefault("PGCONNECT_TIMEOUT", "4")  # seconds, of libpq
    utils.MAX_RETRY_COUNT = ATTEMPTS
    utils._make_parent_dirs_if_sqlite = lambda db_uri: None
    logging.getLogger(utils.__name__).setLevel(logging.CRITICAL)  # what it logs, it also raises


def uri(root: Path) -> str:
    """Return the tracking URI for a checkout at `root`, which may be DVC's temporary copy of the repository."""
    workspace = artifacts.workspace(root)
    stated = os.environ.get("MLFLOW_TRACKING_URI") or local(workspace)
    if not stated.startswith(SQLITE):
        return stated
    # MLflow would take a relative path from the working folder, which is a temporary one for a queued experiment; and
    # `mlflow run` states the path of the default store with more characters encoded than needed.
    path, mark, options = stated.removeprefix(SQLITE).partition("?")
    return sqlite_address(workspace.resolve() / unquote(path)) + mark + options


def local(root: Path) -> str:
    """Return the tracking URI of a checkout's own store."""
    return sqlite_address(root.resolve() / DATABASE)


def artifacts_address(workspace: Path) -> str:
    """Return the place of a local store's artifacts: a path, or an address if MLflow would decode the path as one."""
    place = workspace / ARTIFACTS
    return place.as_uri() if set("%?#") & set(str(place)) else str(place)


def sqlite_address(path: Path) -> str:
    """Write a path as the address of an SQLite database; SQLAlchemy decodes it, and ends it at a question mark."""
    return SQLITE + str(path).replace("%", "%25").replace("?", "%3F")


def prepare(root: Path) -> tuple[str, str]:
    """Create what is missing, and return (tracking URI, id of the experiment for new runs).

    The experiment is MLFLOW_EXPERIMENT_ID, else MLFLOW_EXPERIMENT_NAME, else Default, where a plain `mlflow run` opens
    its run. In a local store an experiment gets an absolute artifact location: MLflow's own would be relative to
    whatever folder the first process started in. A lock lets parallel first starts create one database.
    """
    configure()
    import mlflow
    from filelock import FileLock

    tracking_uri = uri(root)
    mlflow.set_tracking_uri(tracking_uri)
    if shown(tracking_uri) != tracking_uri:  # MLflow prints the address of a run that ends, with its password
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    if not tracking_uri.startswith("http"):
        adapt_mlflow()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
    if not tracking_uri.startswith(SQLITE):
        return tracking_uri, _experiment(tracking_uri, name, None)

    workspace = artifacts.workspace(root).resolve()
    location = artifacts_address(workspace)
    lock = workspace / ".imagetrail" / "store.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        if tracking_uri == local(workspace):
            _create_database(workspace / DATABASE, location)  # before a client, which has another location
        return tracking_uri, _experiment(tracking_uri, name, location)


def _create_database(database: Path, location: str) -> None:
    """Create the default store, or bring an earlier one up to date.

    Killed in the middle of its migrations, MLflow leaves a database that never opens again; so it is made under
    another name, and one that such a kill left is set aside if it holds no runs.
    """
    if database.is_file():
        follow(database)
        try:
            # By another spelling of its path: MLflow keeps a connection for each address, which would outlive the file.
            create_tables(f"{sqlite_address(database.parent)}/./{database.name}", location)
            return
        except Exception:
            if _has_runs(database):
                raise
            aside = database.with_name(f"{database.name}.half-made")
            database.replace(aside)
            warn(f"{database} was half made and holds no runs: a new one is created, and the old one is {aside}.")
    with artifacts.writing(database) as temporary:
        create_tables(sqlite_address(temporary), location)


def follow(database: Path) -> None:
    """Point the default store to the artifacts beside it, after its folder was renamed, moved or copied.

    MLflow keeps the absolute path of every artifact: those of earlier runs would be lost, and new ones would go to the
    old place.
    """
    now, beside = artifacts_address(database.parent), database.parent / ARTIFACTS
    with closing(sqlite3.connect(database)) as connection, connection, suppress(sqlite3.DatabaseError):
        row = connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
        before, found, _ = str(row[0] if row else "").rpartition(f"/{ARTIFACTS}/")
        before += found.rstrip("/")
        if before == now or not before.startswith(("/", "file:///")):
            return
        if not beside.is_dir() and Path(unquote(before.removeprefix("file://"))).is_dir():
            return  # nothing has moved: the user keeps the artifacts elsewhere
        for table, column in PLACES:
            moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"  # noqa: S608
            connection.execute(moved, (now, len(before) + 1, len(before) + 1, f"{before}/"))
        warn(f"{database} was made beside {before}; its runs now have their artifacts in {now}.")


def _has_runs(database: Path) -> bool:
    """Return whether a database that MLflow cannot open may hold runs."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            return bool(connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone())
        except sqlite3.OperationalError as error:
            return "no such table" not in str(error)
        except sqlite3.DatabaseError:
            return True


def create_tables(database: str, location: str) -> None:
    """Create MLflow's tables in a database if they are missing; artifacts of Default go to `location`."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(database, location)


def _experiment(tracking_uri: str, name: str, location: str | None) -> str:
    import mlflow

    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return experiment_id
    client = mlflow.MlflowClient(tracking_uri)
    if (found := client.get_experiment_by_name(name)) is not None:
        if location is not None and found.artifact_location.startswith("mlflow-artifacts:"):
            raise ArtifactError(
                f"MLflow's experiment {name!r} was made by a server, which keeps its artifacts; start `mlflow ui` and "
                "set MLFLOW_TRACKING_URI=http://127.0.0.1:5000, or set MLFLOW_EXPERIMENT_NAME to a new name."
            )
        if found.tags.get(shared_view.VIEW_TAG) != shared_view.state():
            client.set_experiment_tag(found.experiment_id, shared_view.VIEW_TAG, shared_view.state())
        return str(found.experiment_id)
    folder = None if location is None else f"{location}/{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)}"
    tags = {shared_view.VIEW_TAG: shared_view.state()}
    return str(client.create_experiment(name, artifact_location=folder, tags=tags))
