"""Provide a Python with a run's packages: this one if it has them, else one installed from the run's lock."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from imagetrail.console import announce, warn
from imagetrail.errors import ReproductionError
from imagetrail.files import artifacts
from imagetrail.tracking.record import Record

ENVIRONMENTS = Path(".imagetrail/environments")
LOCK = "requirements.lock"


def python(root: Path, checkout: Path, record: Record) -> Path:
    """Return the interpreter that repeats a run, installing its packages if necessary.

    Args:
        root: the user's checkout, below which environments are kept for the next time.
        checkout: the run's, with its requirements.lock.
        record: of the run.

    Raises:
        ReproductionError: the run did not log its packages, or the environment cannot be created.
    """
    wanted, version = record.packages, record.tags.get("python", platform.python_version())
    ours = {found.metadata["Name"]: found.version for found in distributions()}
    if wanted.items() <= ours.items() and version == platform.python_version():
        return Path(sys.executable)
    lock = checkout / LOCK
    if not lock.is_file():
        raise ReproductionError(f"the commit of run {record.id} has no {LOCK}, so its environment cannot be made.")
    key = hashlib.sha256(lock.read_bytes() + version.encode()).hexdigest()[:16]
    folder = artifacts.workspace(root).resolve() / ENVIRONMENTS / key
    interpreter = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        _install(folder, interpreter, lock, version)
        (folder / "installed").touch()
    return interpreter


def _install(folder: Path, interpreter: Path, lock: Path, version: str) -> None:
    announce(f"making the environment of the run's {LOCK} with Python {version}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        _uv("venv", "--quiet", "--clear", "--python", version, str(folder))
    except ReproductionError:
        warn(f"Python {version} is not installed; the run is repeated with {platform.python_version()}.")
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    _uv("pip", "sync", "--quiet", "--python", str(interpreter), "--require-hashes", str(lock))


def _uv(*arguments: str) -> None:
    settings = os.environ | {"UV_COMPILE_BYTECODE": "1", "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        [sys.executable, "-m", "uv", *arguments], check=False, env=settings, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        words = " ".join(done.stderr.split())[:500]
        raise ReproductionError(
            f"the environment of the run cannot be made: `uv {arguments[0]}` failed with {words!r}."
        )
