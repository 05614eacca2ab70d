"""`imagetrail server`: run MLflow on a private PostgreSQL; by default only this machine reaches it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from imagetrail.errors import ServerError
from imagetrail.files import artifacts
from imagetrail.server import postgres

SERVER = Path(".imagetrail/server")
LOOPBACK = ("localhost:*", "127.0.0.1:*")
"""Host headers that are always answered."""


def serve(root: Path, host: str, port: int, allowed_hosts: Sequence[str]) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Args:
        root: the repository's root; data and artifacts lie below .imagetrail/server.
        host: address to listen on.
        port: and its port.
        allowed_hosts: names, with their ports, under which others may reach it; MLflow answers to no other Host header.

    Raises:
        ServerError: PostgreSQL or MLflow does not start; or others may reach the address by no name.
    """
    if host not in ("127.0.0.1", "localhost", "::1") and not allowed_hosts:
        raise ServerError(
            f"--host {host} lets others in, and --allowed-hosts is empty, so none would be answered; name this machine "
            "as they do: --allowed-hosts mlflow.example.org:5000."
        )
    folder = artifacts.workspace(root).resolve() / SERVER
    with postgres.running(folder / "postgres") as database:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
            "--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts"),
            "--allowed-hosts", ",".join([*LOOPBACK, *allowed_hosts]),
        ]  # fmt: skip
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        process = subprocess.Popen(command, env=kept | settings)
        try:
            code = process.wait()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(postgres.START_TIMEOUT)
    raise ServerError(f"MLflow ended with {code}; see its own message above.")


def take_store(root: Path) -> int:
    """Copy the local store, mlflow.db and mlruns/, into the server's own, which is not running; returns its runs.

    Raises:
        ServerError: PostgreSQL does not start, or the server has runs already.
    """
    from imagetrail.tracking import move, store

    workspace = artifacts.workspace(root).resolve()
    with postgres.running(workspace / SERVER / "postgres") as database:
        if (workspace / store.ARTIFACTS).is_dir():  # first, so that no row is there without its files
            shutil.copytree(workspace / store.ARTIFACTS, workspace / SERVER / "artifacts", dirs_exist_ok=True)
        return move.move(root, database)
