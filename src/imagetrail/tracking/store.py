"""Choose the MLflow store, and create the default one.

The default is SQLite at the repository's root by absolute path, so that `mlflow ui`, queued experiments in temporary
folders and `mlflow run` meet in one table. MLFLOW_TRACKING_URI, when set, wins.
"""

import os
import re
from pathlib import Path

from imagetrail.errors import ArtifactError
from imagetrail.files import artifacts

DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"

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


def uri(root: Path) -> str:
    """Return the tracking URI for a checkout at `root`, which may be DVC's temporary copy of the repository."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local(artifacts.workspace(root))


def local(root: Path) -> str:
    """Return the tracking URI of a checkout's own store."""
    return f"sqlite:///{root.resolve() / DATABASE}"


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
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
    if not tracking_uri.startswith("sqlite:///"):
        return tracking_uri, _experiment(tracking_uri, name, None)

    workspace = artifacts.workspace(root).resolve()
    location = workspace / ARTIFACTS
    lock = workspace / ".imagetrail" / "store.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        if tracking_uri == local(workspace):
            create_tables(tracking_uri, str(location))  # before any client, which would use its own location
        return tracking_uri, _experiment(tracking_uri, name, location)


def create_tables(database: str, location: str) -> None:
    """Create MLflow's tables in a database if they are missing; artifacts of Default go to `location`."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(database, location)


def _experiment(tracking_uri: str, name: str, location: Path | None) -> str:
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
        return str(found.experiment_id)
    folder = None if location is None else str(location / re.sub(r"[^\w.-]", "_", name))
    return str(client.create_experiment(name, artifact_location=folder))
