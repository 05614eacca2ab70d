"""A run that never stops the training it describes: MLflow's first failure is said once, then it is left alone."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil

from imagetrail.addresses import shown
from imagetrail.console import warn
from imagetrail.tracking import store

if TYPE_CHECKING:
    import mlflow

T = TypeVar("T")

MODEL_SHA256 = "imagetrail.model_sha256"
"""Tag: sha256 of model.safetensors; how evaluate, and later trainings, find the run of a model."""
EVALUATION = "imagetrail.evaluation"
"""Tag: what the test figures of the run were computed with; see contents.evaluation_key."""
SOURCE_RUN = "imagetrail.source_run_id"
"""Tag: the run that this one stands beside or stands for."""
STANDS_IN = "imagetrail.cached"
"""Tag: DVC had nothing to train, and the figures are those of SOURCE_RUN."""
PROCESS = "imagetrail.process"
"""Tag: host, process id and start time of the process that trains."""

GENERATED_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
"""What MLflow calls a run that nobody named."""


class Run:
    """One MLflow run, or nothing where MLflow does not answer; every method then does nothing."""

    def __init__(self, root: Path, files: Path | None = None) -> None:
        """Connect to the store of a checkout; `active` says whether that went well.

        Args:
            root: the checkout, whose code and store the run belongs to.
            files: where the stages' outputs lie, if not in the checkout.
        """
        self.root = root
        self.files = root if files is None else files
        self.id = ""
        self.active = True
        self._uri = store.uri(root)
        prepared = self.attempt(lambda: store.prepare(root))
        if prepared is not None:
            import mlflow

            self._uri, self.experiment_id = prepared
            self.client = mlflow.MlflowClient(self._uri)

    def attempt(self, action: Callable[[], T]) -> T | None:
        """The action's result; None, and a warning once, where MLflow fails."""
        if not self.active:
            return None
        try:
            return action()
        except Exception as error:  # whatever MLflow, SQLAlchemy or requests raise: tracking never stops a training
            self.active = False
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            warn(
                f"MLflow at {shown(self._uri)} failed ({shown(reason)}); work goes on without it, its "
                "figures are in metrics/ and plots/."
            )
            return None

    @contextmanager
    def open(self, run_id: str | None, name: str, tags: Mapping[str, str], *, system_metrics: bool) -> Iterator[None]:
        """Make this the active run of MLflow: an existing one by its id, else a new one; end it with the block.

        The run ends FINISHED, FAILED after an error, KILLED after Ctrl-C or SIGTERM.
        """
        self.attempt(lambda: self._start(run_id, name, tags, system_metrics=system_metrics))
        status = "FINISHED"
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        except BaseException:
            status = "FAILED"
            raise
        finally:
            if self.id:
                import mlflow

                self.attempt(lambda: mlflow.end_run(status))

    def _start(self, run_id: str | None, name: str, tags: Mapping[str, str], *, system_metrics: bool) -> None:
        import mlflow

        os.environ.pop("MLFLOW_RUN_ID", None)  # given by its id; MLflow must not adopt it a second time
        if system_metrics:
            mlflow.set_system_metrics_sampling_interval(1)
        if run_id is None:
            started = mlflow.start_run(
                experiment_id=self.experiment_id, run_name=name, tags=dict(tags), log_system_metrics=system_metrics
            )
        else:
            started = mlflow.start_run(run_id=run_id, log_system_metrics=system_metrics)
            if GENERATED_NAME.fullmatch(started.info.run_name or ""):
                mlflow.set_tag("mlflow.runName", name)
            mlflow.set_tags(dict(tags))
        self.id = started.info.run_id

    def adopted_id(self) -> str | None:
        """The run that `mlflow run` opened for us."""
        return os.environ.get("MLFLOW_RUN_ID") or None

    def find(self, model_sha256: str, *, other_than: str = "") -> "mlflow.entities.Run | None":
        """The newest run of a model, in the experiment of new runs; not one that only stands for another."""
        query = f"tags.`{MODEL_SHA256}` = '{model_sha256}'"
        found = self.attempt(
            lambda: self.client.search_runs([self.experiment_id], query, order_by=["attributes.start_time DESC"])
        )
        return next((r for r in found or () if r.info.run_id != other_than and STANDS_IN not in r.data.tags), None)

    def log_metrics(self, values: Mapping[str, float | None], step: int = 0, model_id: str | None = None) -> None:
        """Log figures of one step in one call; None is left out."""
        if not self.id:
            return
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(name, value, now, step, model_id=model_id) for name, value in values.items() if value is not None
        ]
        self.attempt(lambda: self.client.log_batch(self.id, metrics=metrics))

    def close_dead_runs(self) -> None:
        """End, as KILLED, the runs of this machine whose process is gone: kill -9 and power cuts leave them RUNNING."""
        runs = self.attempt(lambda: self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'"))
        for run in runs or ():
            host, _, rest = run.data.tags.get(PROCESS, "").partition("|")
            if host == socket.gethostname() and rest and not _alive(rest):
                self.attempt(lambda run=run: self.client.set_terminated(run.info.run_id, "KILLED"))  # type: ignore[misc]


def process_tag() -> str:
    """The value of the tag PROCESS for this process."""
    process = psutil.Process()
    return f"{socket.gethostname()}|{process.pid}|{process.create_time():.0f}"


def _alive(process: str) -> bool:
    pid, _, started = process.partition("|")
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == started
    except (psutil.NoSuchProcess, ValueError):
        return False
