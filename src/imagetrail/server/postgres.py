"""Run a private PostgreSQL from the system's programs: in a folder, without root, reachable only by a socket file."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagetrail.errors import ServerError

DATABASE_NAME, ROLE = "mlflow", "mlflow"
PROGRAM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
"""Folders in which packages of Debian, Red Hat and Homebrew install the programs outside the PATH."""
START_TIMEOUT = 300
"""Seconds for it to accept connections, and to stop."""


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run PostgreSQL with its data in `folder`, created the first time, until the block ends.

    It listens on no network, only on a socket file in a temporary folder that only the user can enter.

    Yields:
        The database's URI for SQLAlchemy; it holds no secret.

    Raises:
        ServerError: PostgreSQL is not installed or does not start; the message has its output.
    """
    programs = _programs()
    if not (folder / "PG_VERSION").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run(programs / "initdb", "--pgdata", str(folder), "--username", ROLE, "--auth", "trust", "--encoding", "UTF8",
             "--no-locale")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="imagetrail-") as sockets:  # a socket's path has 107 bytes at most
        command = [str(programs / "postgres"), "-D", str(folder), "-k", sockets, "-c", "listen_addresses="]
        log = folder.with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen([*_without_root(), *command], stdout=output, stderr=output)
        try:
            _wait(process, programs, sockets, log)
            listed = _run(programs / "psql", "-h", sockets, "-U", ROLE, "-d", "postgres", "-Atc",
                          "SELECT datname FROM pg_database")  # fmt: skip
            if DATABASE_NAME not in listed.split():
                _run(programs / "createdb", "-h", sockets, "-U", ROLE, DATABASE_NAME)
            yield f"postgresql+psycopg://{ROLE}@/{DATABASE_NAME}?host={sockets}"
        finally:
            process.send_signal(
                signal.SIGINT
            )  # a fast shutdown: https://www.postgresql.org/docs/current/server-shutdown.html
            process.wait(START_TIMEOUT)


def _wait(process: subprocess.Popen[bytes], programs: Path, sockets: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while subprocess.run([programs / "pg_isready", "-q", "-h", sockets], check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise ServerError(f"PostgreSQL does not start ({lines[-1] if lines else 'it printed nothing'}); see {log}.")
        time.sleep(0.1)


def _programs() -> Path:
    """Return the folder of initdb and postgres: on the PATH, else the newest of PROGRAM_FOLDERS."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    folders = [path for place in PROGRAM_FOLDERS for path in Path("/").glob(place[1:]) if (path / "initdb").is_file()]
    if not folders:
        raise ServerError(
            "PostgreSQL is not installed; `apt-get install postgresql`, or your system's package, has it."
        )
    return max(
        folders, key=lambda path: [int(n) for n in "".join(c if c.isdigit() else " " for c in str(path)).split()]
    )


def _without_root() -> Sequence[str]:
    """Choose another uid if we are root, since PostgreSQL refuses to run as root."""
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []


def _run(*command: str | Path) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run([*_without_root(), *command], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ServerError(f"{Path(command[0]).name} of PostgreSQL failed: {' '.join(words[-3:])}")
    return done.stdout
