"""Keep calls that the store did not accept, in order on disk, and make them when it answers again.

An entry is a folder for one run. It is locked by the process that fills it; the next process that reaches the store
sends what a dead one left, and each call is made once, however often sending is interrupted.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from imagetrail.addresses import reason
from imagetrail.console import warn
from imagetrail.files import artifacts
from imagetrail.tracking.tags import ENTRY, MODEL_SHA256

if TYPE_CHECKING:
    import mlflow
    from mlflow.exceptions import MlflowException

    from imagetrail.tracking.calls import Call

OUTBOX = Path(".imagetrail/outbox")


@dataclass(frozen=True)
class Header:
    """The run that an entry is for."""

    store: str
    """sha256 of the tracking URI, which itself may hold a secret."""
    run_id: str | None
    """None if the store never gave one."""
    model: str | None
    """Without an id: the newest run of this model, by its sha256; None opens a new run."""
    name: str
    tags: dict[str, str]
    start: int
    """Milliseconds of Unix time."""
    ends: bool
    """Whether the process that filled the entry was to end the run."""


class Entry:
    """The calls of one run that wait."""

    def __init__(self, folder: Path) -> None:
        """Take an entry that exists; `create` makes one."""
        self.folder = folder
        self.abandoned = False  # whether the process that filled it is gone
        self._path = folder / "calls.jsonl"
        self._lock = FileLock(folder / "lock")

    @classmethod
    def create(cls, root: Path, header: Header) -> Self:
        """Create an entry, locked by this process."""
        folder = artifacts.workspace(root).resolve() / OUTBOX / f"{time.time_ns():020d}-{os.getpid()}"
        folder.mkdir(parents=True)
        entry = cls(folder)
        try:
            entry._lock.acquire()
            artifacts.write_json(folder / "header.json", asdict(header))
        except BaseException:
            entry.remove()
            raise
        return entry

    def add(self, call: "Call") -> None:
        """Save a call, with copies of its files."""
        number = sum(1 for _ in self._lines())
        files = []
        for position, path in enumerate(call.files):
            target = self.folder / f"{number:06d}-{position}" / path.name
            shutil.rmtree(target.parent, ignore_errors=True)  # of a call that could not be saved
            target.parent.mkdir()
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copy(path, target)
            files.append(target.relative_to(self.folder).as_posix())
        line = json.dumps({"call": call.model_dump(), "files": files}) + "\n"
        with self._path.open("ab") as file:
            end = self._path.read_bytes().rfind(b"\n") + 1  # a killed process may have left half a line
            file.truncate(end)
            try:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)  # the next call must not continue half a line
                raise

    def send(self, client: "mlflow.MlflowClient", experiment_id: str) -> str:
        """Make every call that waits and return the run's id; raises what MLflow raises."""
        from imagetrail.tracking.calls import End  # pydantic is imported only if calls wait

        run_id = self._run(client, experiment_id)
        sent = self.folder / "sent"
        done = int(sent.read_text()) if sent.is_file() else 0
        calls = list(self._calls())
        for number, call in enumerate(calls[done:], start=done + 1):
            perform(client, run_id, call)
            with artifacts.writing(sent) as temporary:
                temporary.write_text(str(number))
        if self.header.ends and not any(isinstance(call, End) for call in calls) and self.abandoned:
            client.set_terminated(run_id, "KILLED")
        return run_id

    def remove(self) -> None:
        """Delete the entry, as everything is sent."""
        shutil.rmtree(self.folder)
        self.release()

    def release(self) -> None:
        """Leave the entry to others."""
        self._lock.release()

    @property
    def header(self) -> Header:
        """Return the run that the entry is for."""
        return Header(**json.loads((self.folder / "header.json").read_text(encoding="utf-8")))

    def _run(self, client: "mlflow.MlflowClient", experiment_id: str) -> str:
        """Find the run that the calls are for, or open it, once, if the store does not have it."""
        header = self.header
        if header.run_id is not None:
            return header.run_id
        tag, value = (MODEL_SHA256, header.model) if header.model is not None else (ENTRY, self.folder.name)
        found = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", order_by=["start_time DESC"])
        if found:
            return str(found[0].info.run_id)
        tags = header.tags | {ENTRY: self.folder.name}
        opened = client.create_run(experiment_id, header.start, tags, header.name)
        return str(opened.info.run_id)

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self._path.is_file():
            with self._path.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.endswith("\n"))

    def _calls(self) -> "Iterator[Call]":
        from imagetrail.tracking.calls import CALLS

        for line in self._lines():
            files = tuple(self.folder / name for name in line["files"])
            yield CALLS.validate_python(line["call"] | {"files": files})


def store_key(uri: str) -> str:
    """Hash the URI of a store, for an entry to remember it by."""
    return hashlib.sha256(uri.encode()).hexdigest()


def waiting(root: Path) -> list[Path]:
    """List the entries, oldest first, without reading them."""
    return sorted((artifacts.workspace(root) / OUTBOX).glob("*/header.json"))


def send_waiting(root: Path, uri: str, client: "mlflow.MlflowClient", experiment_id: str) -> None:
    """Send what dead processes left for this store, oldest first; raises what MLflow raises."""
    for path in waiting(root):
        entry = Entry(path.parent)
        try:
            entry._lock.acquire(timeout=0)
        except (Timeout, OSError):
            continue  # its process lives, or another has just sent it
        try:
            if path.is_file() and entry.header.store == store_key(uri):
                entry.abandoned = True
                entry.send(client, experiment_id)
                entry.remove()
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            # Not the store's fault: an entry of another version, say, which must not block the store for ever.
            warn(
                f"{path.parent} cannot be sent ({type(error).__name__}: {reason(error)}); remove it if it is no longer "
                "needed."
            )
        finally:
            entry.release()


def perform(client: "mlflow.MlflowClient", run_id: str, call: "Call") -> None:
    """Make a call; skip one that the store rejects as invalid, with a warning."""
    from mlflow.exceptions import MlflowException

    try:
        call.make(client, run_id)
    except MlflowException as error:
        if not _is_refusal(error):
            raise
        warn(f"MLflow refused the {call.kind} of run {run_id} ({reason(error)}); continuing without.")


def _is_refusal(error: "MlflowException") -> bool:
    """Return whether the store judged a call wrong; whatever else fails may work later.

    MLflow calls every error of SQLAlchemy BAD_REQUEST: values that do not fit, but also a damaged or read-only file.
    """
    if error.error_code == "BAD_REQUEST":
        return re.search(r"\b(DataError|IntegrityError)\b|\.errors\.StringDataRightTruncation", str(error)) is not None
    return error.get_http_status_code() in (400, 404)
