"""`imagetrail serve`: load a model and listen; by default only this machine reaches it."""

import platform
import socket
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import uvicorn

from imagetrail.console import announce, warn
from imagetrail.errors import ArtifactError, ServerError
from imagetrail.files import artifacts
from imagetrail.model import classifier
from imagetrail.serving import web
from imagetrail.serving.connections import Impatient
from imagetrail.serving.inference_process import Worker
from imagetrail.tracking import logged_model, registry

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
NAMED_VERSIONS = ("imagetrail", "torch", "numpy", "pillow", "simplejpeg")
GOODBYE_SECONDS = 30
"""For requests in flight at shutdown."""


def listen(root: Path, reference: str | None, host: str, port: int, allowed_hosts: Sequence[str]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        root: the repository's root.
        reference: a run as `registry.find` takes it, or a models:/ URI; None is the model in models/.
        host: address to listen on.
        port: and its port.
        allowed_hosts: names under which others may reach it; no other Host header is answered.

    Raises:
        ServerError: the model does not load, the port is taken, or others may reach the address by no name.
        ArtifactError: there is no such model.
    """
    if host not in ("127.0.0.1", "localhost", "::1") and not allowed_hosts:
        raise ServerError(
            f"--host {host} lets others in, and --allowed-hosts is empty, so none would be answered; name this machine "
            "as they do: --allowed-hosts models.example.org."
        )
    if reference is None:
        folder = root / artifacts.MODELS
        serve(folder, _run_of(root, folder), host, port, allowed_hosts)
        return
    with logged_model.fetched(root, reference) as (folder, run_id):
        serve(folder, run_id, host, port, allowed_hosts)


def _run_of(root: Path, folder: Path) -> str | None:
    """Return the id of the newest run of the model in a folder; None, with a warning, if the store has none."""
    sha256 = classifier.read_card(folder).sha256
    try:
        if (run_id := registry.of_model(root, sha256)) is None:
            warn(f"no run in MLflow has the model {sha256[:12]}…, so answers name none.")
        return run_id
    except ArtifactError as error:
        warn(f"answers name no run: {error}")
        return None


def serve(folder: Path, run_id: str | None, host: str, port: int, allowed_hosts: Sequence[str]) -> None:
    """Serve the model in a folder, see classifier.save; the other arguments and errors are those of `listen`."""
    place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((host, port))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ServerError(f"--host {host} --port {port} cannot be listened on ({why}); change it.") from None
    card = classifier.read_card(folder)
    about = web.ServedModel(
        run_id, card.sha256, {"python": platform.python_version()} | {name: version(name) for name in NAMED_VERSIONS}
    )
    page = {"title": f"{card.name}: {len(card.classes)} classes", "run_id": run_id, "sha256": card.sha256}
    worker = Worker(folder)
    try:
        application = web.application(worker, about, [*LOCAL_HOSTS, *allowed_hosts], page)
        settings = uvicorn.Config(
            application, http=Impatient, log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=GOODBYE_SECONDS, ws="none",
        )  # fmt: skip
        shown = f"[{host}]" if ":" in host else host
        announce(f"{card.name} answers at http://{shown}:{port}; Ctrl-C ends it.")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(settings).run([place])
    finally:
        worker.close()
        place.close()
