"""Decode on the cores of this machine, or on a Dask cluster that has the same files under the same paths."""

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from joblib import Parallel, delayed, parallel_config

from imagetrail.console import warn
from imagetrail.errors import DataError
from imagetrail.params.machine import Machine

if TYPE_CHECKING:
    from distributed import Client

Given = TypeVar("Given")
Result = TypeVar("Result")
DEATHS = ("TerminatedWorkerError", "KilledWorker")
"""What loky and Dask raise if a task kills its worker."""
CLUSTER_TIMEOUT = 15
"""Seconds for a scheduler to answer and for a first worker to be there."""


def spread(
    function: Callable[[Given], Result], tasks: Iterable[Given], machine: Machine, rescue: Callable[[Given], Result]
) -> Iterator[Result]:
    """Yield the results of a function in the order of its tasks, computed in parallel; few are held at a time.

    If a worker of a cluster dies, another repeats its task.

    Args:
        function: of a task.
        tasks: read as workers become free.
        machine: section `machine` of params.yaml.
        rescue: computes in this process, with care, the result of a task that may have killed a worker.

    Raises:
        DataError: the cluster cannot be reached, has no workers, or its workers have other code or libraries than this
            process, so that their pixels might differ.
    """
    waiting: deque[Given] = deque()  # handed to the workers, and without a result yet

    def handed() -> Iterator[Given]:
        for task in remaining:
            waiting.append(task)
            yield task

    # A consumer that stops early, as when the disk is full, says so itself.
    warnings.filterwarnings("ignore", r"(?s).*tasks (have been|which were)", UserWarning)
    with _backend(machine):
        remaining, is_done = iter(tasks), False
        while not is_done:
            try:
                parallel = Parallel(n_jobs=machine.jobs, return_as="generator")
                for result in parallel(delayed(function)(task) for task in handed()):
                    waiting.popleft()
                    yield result
                is_done = True
            except Exception as error:
                if type(error).__name__ not in DEATHS:
                    raise
                warn("a process that decodes images died; its images are decoded one by one, to find the cause.")
                while waiting:
                    yield rescue(waiting.popleft())


class Alone:
    """A process for tasks that may kill it."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._executor: ProcessPoolExecutor | None = None

    def run(self, function: Callable[[Given], Result], task: Given) -> Result | None:
        """Return the function's result; None if it killed the process."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return self._executor.submit(function, task).result()
        except BrokenProcessPool:
            self.close()
            return None

    def close(self) -> None:
        """End the process."""
        if self._executor is not None:
            self._executor.shutdown()
        self._executor = None


@contextmanager
def _backend(machine: Machine) -> Iterator[None]:
    if machine.scheduler is None:
        with parallel_config(backend="loky"):
            yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise DataError("machine.backend = 'dask' needs the package; run `pip install dask distributed`.") from None
    try:
        client = Client(machine.scheduler, timeout=CLUSTER_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"machine.scheduler = {machine.scheduler!r} cannot be reached ({error}); start `dask scheduler` there, and "
            "workers, or set machine.backend to loky."
        ) from None
    with client:
        _check_workers(client, machine.scheduler)
        with parallel_config(backend="dask", client=client):
            yield


def _check_workers(client: "Client", address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=CLUSTER_TIMEOUT)
    except TimeoutError:
        raise DataError(f"machine.scheduler = {address!r} has no workers; start `dask worker {address}`.") from None
    ours = fingerprint()
    for worker, theirs in client.run(fingerprint, on_error="return").items():
        if isinstance(theirs, Exception):
            raise DataError(
                f"the Dask worker {worker} cannot import imagetrail ({theirs}); install this checkout there."
            )
        if other := [name for name, value in ours.items() if theirs.get(name) != value]:
            raise DataError(
                f"the Dask worker {worker} has another {other[0]} ({theirs.get(other[0])}) than this process "
                f"({ours[other[0]]}), and its pixels might differ; install this checkout's lock there."
            )


def fingerprint() -> dict[str, str]:
    """Return what determines the pixels: this package's code and the versions of its image libraries."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    return {"imagetrail": code.hexdigest()[:12]} | {name: version(name) for name in ("numpy", "pillow", "simplejpeg")}
