"""A run that never stops the training it describes: calls that the store does not accept are saved and sent later."""

import logging
import os
import re
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import psutil

from imagetrail.addresses import reason, shown
from imagetrail.console import warn
from imagetrail.errors import ArtifactError, Stopped
from imagetrail.tracking import outbox, store
from imagetrail.tracking.calls import Call, End, LogFiles, LogMetrics, SetTags
from imagetrail.tracking.tags import CACHED, LAUNCH, MODEL_SHA256, PROCESS

if TYPE_CHECKING:
    import mlflow
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

T = TypeVar("T")
PACKAGE = Path(__file__).parents[1]

GENERATED_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
"""The form of the names that MLflow generates for runs."""
BACKOFF = 20
"""After a failure the store is tried again only after this many times as long as the failed call took, so that training
loses a twentieth of its time at most."""
PAUSE = 5
"""Minimum seconds before the next attempt."""


class Run:
    """One MLflow run. Calls to a store that does not answer are kept in the outbox; questions return None."""

    def __init__(self, root: Path, outputs: Path | None = None) -> None:
        """Connect to the store of a checkout and send the calls that wait for it.

        Args:
            root: the checkout, whose code and store the run belongs to.
            outputs: the folder of the stages' outputs, if not the checkout.
        """
        self.root = root
        self.outputs = root if outputs is None else outputs
        self.id: str | None = None
        self.experiment_id = ""
        self._model: str | None = None
        self._name, self._tags, self._start, self._ends = "", dict[str, str](), _now(), False
        self._uri = store.uri(root)
        self._client: mlflow.MlflowClient | None = None
        self._entry: outbox.Entry | None = None
        self._retry_at: float | None = None
        self._warned = False
        self._monitor: SystemMetricsMonitor | None = None
        self._try(self._connect)

    # --- the store, there or not --------------------------------------------------------------------------------------

    @property
    def reachable(self) -> bool:
        """Return whether the store answered its last request."""
        return self._retry_at is None

    def ask(self, question: Callable[["mlflow.MlflowClient"], T]) -> T | None:
        """Return the store's answer; None if it does not answer."""
        return self._try(lambda: question(self._connected())) if self.reachable else None

    def log(self, call: Call) -> None:
        """Make a call at once, or save it for later if the store does not answer."""
        if self._entry is None and self.reachable:
            self._try(lambda: self._make(call))
            if self.reachable:
                return
        self._keep(call)
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._send()

    def _make(self, call: Call) -> None:
        assert self.id is not None, "open() comes first"
        outbox.perform(self._connected(), self.id, call)

    def _connected(self) -> "mlflow.MlflowClient":
        assert self._client is not None, "only while the store is reachable"
        return self._client

    def _connect(self) -> None:
        self._uri, self.experiment_id = store.prepare(self.root)
        import mlflow  # imported late, as MLflow reads its settings on import

        self._client = mlflow.MlflowClient(self._uri)
        outbox.send_waiting(self.root, self._uri, self._client, self.experiment_id)

    def _try(self, action: Callable[[], T]) -> T | None:
        """Return the action's result; None if MLflow fails, with a warning the first time."""
        begin = time.monotonic()
        try:
            result = action()
        except Exception as error:  # whatever MLflow, SQLAlchemy or requests raise: tracking never stops a training
            if _is_our_mistake(error):
                raise
            self._retry_at = time.monotonic() + max(PAUSE, BACKOFF * (time.monotonic() - begin))
            if not self._warned:
                self._warned = True
                warn(
                    f"MLflow at {shown(self._uri)} failed ({reason(error)}); continuing without it. What it "
                    "should hold waits in .imagetrail/outbox until the next stage or `make repro` reaches it."
                )
            return None
        self._retry_at = None
        return result

    def _keep(self, call: Call) -> None:
        try:
            if self._entry is None:
                header = outbox.Header(
                    outbox.store_key(self._uri), self.id, self._model, self._name, self._tags,
                    self._start, self._ends,
                )  # fmt: skip
                self._entry = outbox.Entry.create(self.root, header)
            self._entry.add(call)
        except (OSError, ArtifactError) as error:
            warn(f"a part of the run is lost ({call.kind}): {outbox.OUTBOX} cannot be written ({reason(error)}).")

    def _send(self) -> None:
        """Try to send the saved calls; if that works, later calls are made at once."""
        entry = self._entry

        def send() -> None:
            if self._client is None:
                self._connect()
            if entry is not None:
                self.id = entry.send(self._connected(), self.experiment_id)
                entry.remove()

        self._try(send)
        if self.reachable:
            self._entry = None
            if self._monitor is not None:
                self._watch()

    # --- a run, from its beginning to its end -------------------------------------------------------------------------

    @contextmanager
    def open(self, run_id: str | None, name: str, tags: Mapping[str, str]) -> Iterator[None]:
        """Open a run, or reopen one, and end it with the block.

        The run ends as FINISHED, as FAILED after an error, or as KILLED after Ctrl-C, SIGTERM or Stopped.
        """
        self._tags = dict(tags) if run_id is not None else _with_context(tags)
        self.id, self._name, self._start, self._ends = run_id, name, _now(), True
        if self.reachable:
            self._try(self._begin)
        if not self.reachable and run_id is not None:
            self.log(SetTags(tags=dict(self._tags)))
        status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED"
        try:
            yield
        except (KeyboardInterrupt, SystemExit, Stopped):
            status = "KILLED"
            raise
        except BaseException:
            status = "FAILED"
            raise
        finally:
            if self._monitor is not None and self.reachable:
                self._try(self._monitor.finish)
            self._monitor = None
            self.log(End(status=status, time=_now()))
            self._close()

    @contextmanager
    def go_on(self, run_id: str | None, name: str, model_sha256: str) -> Iterator[None]:
        """Add to a run that another process ends; without an id, to the newest of a model, once the store finds it."""
        self.id, self._name, self._model = run_id, name, model_sha256
        self._tags = {MODEL_SHA256: model_sha256}
        self.log(SetTags(tags=dict(self._tags)))
        yield
        self._close()

    def _close(self) -> None:
        """Leave the saved calls to later processes, if the store still does not answer."""
        if self._entry is not None and self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._send()
        if self._entry is not None:
            self._entry.release()

    def _begin(self) -> None:
        client = self._connected()
        if self.id is None:
            created = client.create_run(self.experiment_id, self._start, self._tags, self._name)
            self.id = created.info.run_id
            return
        found = client.get_run(self.id)
        client.update_run(self.id, status="RUNNING")
        if GENERATED_NAME.fullmatch(found.info.run_name or ""):
            client.update_run(self.id, name=self._name)
        self.log(SetTags(tags=dict(self._tags)))

    def watch(self) -> None:
        """Log the machine's load each second, until the run ends."""
        if self.reachable:
            self._try(self._watch)

    def _watch(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.getLogger(SystemMetricsMonitor.__module__).setLevel(logging.ERROR)  # its warnings are pages of SQL
        self._monitor = SystemMetricsMonitor(self.id, sampling_interval=1, resume_logging=True, tracking_uri=self._uri)
        self._monitor.start()

    # --- what is logged -----------------------------------------------------------------------------------------------

    def log_metrics(self, figures: Mapping[str, float | None], step: int = 0, *, of_model: bool = False) -> None:
        """Log metrics of one step in one call, without those that are None; `of_model` links them to its model."""
        known = {name: value for name, value in figures.items() if value is not None}
        self.log(LogMetrics(metrics=known, step=step, time=_now(), of_model=of_model))

    def log_files(self, folder: str, paths: Sequence[Path]) -> None:
        """Log files, and the contents of folders, to a folder of the run's artifacts; "" is the root."""
        self.log(LogFiles(folder=folder, files=tuple(paths)))

    # --- other runs ---------------------------------------------------------------------------------------------------

    def adopted_id(self) -> str | None:
        """Return the id of the run that `mlflow run` opened for us, or ours from before torchrun started us again."""
        if run_id := os.environ.get("MLFLOW_RUN_ID"):
            return run_id
        if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            return None
        query = f"tags.`{LAUNCH}` = '{launch_tags()[LAUNCH]}'"
        found = self.ask(
            lambda client: client.search_runs([self.experiment_id], query, order_by=["attributes.start_time DESC"])
        )
        return next((run.info.run_id for run in found or ()), None)

    def find(self, model_sha256: str, *, other_than: str = "") -> "mlflow.entities.Run | None":
        """Find the newest run of a model in the experiment of new runs; runs that stand in for another do not count."""
        query = f"tags.`{MODEL_SHA256}` = '{model_sha256}'"
        found = self.ask(
            lambda client: client.search_runs([self.experiment_id], query, order_by=["attributes.start_time DESC"])
        )
        return next((r for r in found or () if r.info.run_id != other_than and CACHED not in r.data.tags), None)

    def close_dead_runs(self) -> None:
        """End, as KILLED, the runs of this machine whose process is gone: kill -9 and power cuts leave them RUNNING.

        A model whose logging was cut off becomes FAILED.
        """
        runs = self.ask(lambda client: client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'"))
        for run in runs or ():
            host, _, rest = run.data.tags.get(PROCESS, "").partition("|")
            if host == socket.gethostname() and rest and not alive(rest):
                self.ask(partial(self._end_dead, run_id=run.info.run_id))

    def _end_dead(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        for model in client.search_logged_models([self.experiment_id], f"source_run_id = '{run_id}'"):
            if model.status == "PENDING":
                client.finalize_logged_model(model.model_id, "FAILED")
        client.set_terminated(run_id, "KILLED")


def _with_context(tags: Mapping[str, str]) -> dict[str, str]:
    """Add the tags that MLflow itself gives a new run: user, source and git commit."""
    try:
        from mlflow.tracking.context.registry import resolve_tags

        return dict(resolve_tags(dict(tags)))
    except Exception as error:  # a private function, and providers of the user's: tracking never stops a training
        warn(f"MLflow's own tags are missing from the run ({type(error).__name__}: {error}).")
        return dict(tags)


def _is_our_mistake(error: Exception) -> bool:
    """Return whether an exception comes from a bug in this package, which must not pass for a failing store."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    is_ours = Path(frame.f_code.co_filename).is_relative_to(PACKAGE)
    return is_ours and isinstance(error, AssertionError | AttributeError | LookupError | NameError | TypeError)


def process_tag() -> str:
    """Return the value of the tag PROCESS for this process."""
    process = psutil.Process()
    return f"{socket.gethostname()}|{process.pid}|{process.create_time():.0f}"


def launch_tags() -> dict[str, str]:
    """Return the tag LAUNCH, if torchrun started this process."""
    launch = os.environ.get("TORCHELASTIC_RUN_ID")
    return {} if launch is None else {LAUNCH: launch}


def alive(process: str) -> bool:
    """Return whether the process of this machine with this id and start time is still running."""
    pid, _, started = process.partition("|")
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == started
    except (psutil.NoSuchProcess, ValueError):
        return False


def _now() -> int:
    """Return Unix time in milliseconds, as MLflow does."""
    return time.time_ns() // 1_000_000
