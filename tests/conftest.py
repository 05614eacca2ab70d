"""What the tests share: a repository in a temporary folder, and the rule that nothing reaches a network."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run the real pipeline, a browser and a server")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: pytest --run-slow, or make test"))


def need(present: object, what: str) -> None:
    """Skip where something is absent; under CI that is a failure, so that nothing goes untested unnoticed."""
    if not present:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {what}")
        pytest.skip(f"no {what}")


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fast tests open no socket, but to the fixture `web`; slow ones start servers of their own on loopback."""
    import pytest_socket

    if "slow" in request.keywords:
        yield
        return
    if "web" in request.fixturenames:
        pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    else:
        pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket._remove_restrictions()


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """Neither the developer's settings nor what another test left: MLflow keeps its tracking URI in the environment.

    Cleaned after a test too, for the fixtures of the next module, which begin before its tests.
    """
    _forget_settings()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    yield
    _forget_settings()


def _forget_settings() -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "DVC_", "IMAGETRAIL_")) and name != "IMAGETRAIL_TEST_DATA":
            del os.environ[name]


@pytest.fixture
def test_data() -> Path:
    """Real images, where the machine has them: the folder IMAGETRAIL_TEST_DATA."""
    folder = os.environ.get("IMAGETRAIL_TEST_DATA", "")
    need(folder, "IMAGETRAIL_TEST_DATA, a folder of real images")
    return Path(folder).resolve()


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


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that the stages' main() can take for a repository: the default parameters, no code."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "recipes", tmp_path / "recipes")
    (tmp_path / "data" / "source").mkdir(parents=True)
    return tmp_path


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
