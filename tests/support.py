"""What all tests share: the repository, parameters, a web server, and rules about what a machine must have."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[1]


PATIENCE = 900
"""Seconds after which a test gives up on an event that must come; a busy machine may need minutes."""


def need(present: object, what: str) -> None:
    """Skip where something is absent; under CI that is a failure, so that nothing goes untested unnoticed."""
    if not present:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {what}")
        pytest.skip(f"no {what}")


def attempt(*command: str) -> None:
    """Run what takes privileges that a machine may not give even to CI; skip where it does not."""
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no leave for {' '.join(command)}: {error}")


class Web:
    """A server on loopback that answers each request with the next of `answers`, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.requests: list[dict[str, str]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.requests.append({"path": self.path, **dict(self.headers)})
                web.answers[min(len(web.requests), len(web.answers)) - 1](self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def answer(
    body: bytes = b"", status: int = 200, length: int | None = None, pause: float = 0, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer; with `length` it promises another length than it sends, with `pause` it sends byte by byte."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with suppress(OSError):
            if not pause:
                handler.wfile.write(body)
                return
            for byte in body:
                handler.wfile.write(bytes([byte]))
                time.sleep(pause)

    return send


def make_root(root: Path, **values: object) -> Path:
    """Make a folder that the stages' main() can take for a repository: parameters as in `set_params`, no code."""
    shutil.copy(REPOSITORY / "params.yaml", root)
    shutil.copytree(REPOSITORY / "recipes", root / "recipes")
    (root / "data" / "source").mkdir(parents=True)
    # Workers that joblib keeps would outlive the test; portable arithmetic needs a process of its own.
    set_params(root, **{"machine__jobs": 1, "train__arithmetic": "native"} | values)
    return root


def make_trained(root: Path, **values: object) -> Path:
    """Make such a folder, and run all stages in it."""
    from stages import download, evaluate, preprocess, split, train

    make_root(root, **values)
    for stage in (download, preprocess, split, train, evaluate):
        stage.main(root)
    return root


def set_params(root: Path, **values: object) -> None:
    """Set parameters by name, with `__` for the dot: set_params(root, train__epochs=2)."""
    yaml = YAML()
    path = root / "params.yaml"
    tree = yaml.load(path.read_text(encoding="utf-8"))
    for name, value in values.items():
        *sections, key = name.split("__")
        section = tree
        for part in sections:
            section = section[part]
        section[key] = value
    yaml.dump(tree, path)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout
