"""Decode on the cores of this machine, or on a Dask cluster that has the same files under the same paths."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from joblib import Parallel, delayed, parallel_config

from imagetrail.errors import DataError
from imagetrail.params.machine import Machine

if TYPE_CHECKING:
    from distributed import Client

Given = TypeVar("Given")
Result = TypeVar("Result")
CLUSTER_TIMEOUT = 15
"""Seconds for a scheduler to answer and for a first worker to be there."""


def spread(function: Callable[[Given], Result], tasks: Iterable[Given], machine: Machine) -> Iterator[Result]:
    """Yield the results of a function in the order of its tasks, computed in parallel; few are held at a time.

    If a worker of a cluster dies, another repeats its task.

    Raises:
        DataError: the cluster cannot be reached, has no workers, or its workers have other code or libraries than this
            process, so that their pixels might differ.
    """
    with _backend(machine):
        yield from Parallel(n_jobs=machine.jobs, return_as="generator")(delayed(function)(task) for task in tasks)


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
