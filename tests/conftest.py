"""Options, rules and fixtures of all tests: no network, a clean environment, and clones of the repository."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from clones import MAKE, make_clone, run
from filelock import FileLock
from support import Web, make_root

from imagetrail.files import artifacts

# The same examples each time, and no limit of time: a busy machine is not a failure.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run the real pipeline, a browser and a server")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless asked for; fast ones open no socket, but to the fixture `web`."""
    for item in items:
        if "slow" in item.keywords:
            if not config.getoption("--run-slow"):
                item.add_marker(pytest.mark.skip(reason="slow: pytest --run-slow, or make test"))
        elif "web" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1"]))
        else:
            item.add_marker(pytest.mark.disable_socket)


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """Neither the developer's settings nor what another test left: MLflow keeps its tracking URI in the environment.

    Cleaned after a test too, for the fixtures of the next module, which begin before its tests. MLflow puts the code of
    a model that it loads first on the path, where the processes of later tests would import it.
    """
    _forget_settings()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    path = list(sys.path)
    yield
    sys.path[:] = path
    _forget_settings()


def _forget_settings() -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "DVC_", "IMAGETRAIL_")) and name != "IMAGETRAIL_TEST_DATA":
            del os.environ[name]


@pytest.fixture
def test_data() -> Path:
    """Real images, where the machine has them: the folder IMAGETRAIL_TEST_DATA."""
    folder = os.environ.get("IMAGETRAIL_TEST_DATA")
    if folder is None:
        pytest.skip("IMAGETRAIL_TEST_DATA names no folder of real images")
    return Path(folder).resolve()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A clone in which nothing has run."""
    return make_clone(tmp_path / "clone")


def built_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A folder that one of the test processes builds and all of them share."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name
    with FileLock(f"{shared}.lock"):
        if not (shared / "built").is_file():
            shared.mkdir()
            build(shared)
            (shared / "built").touch()
    return shared


@pytest.fixture(scope="session")
def first_repro(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A clone after its first `make repro`, and what that printed; not to be changed."""

    def build(folder: Path) -> None:
        clone = make_clone(folder / "clone")
        (folder / "output.txt").write_text(run(clone, *MAKE, "repro").stdout)

    shared = built_once(tmp_path_factory, "first-repro", build)
    return shared / "clone", (shared / "output.txt").read_text()


@pytest.fixture(scope="session")
def committed(first_repro: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with all outputs, the cache, and a commit of what they are; not to be changed."""

    def build(folder: Path) -> None:
        clone, origin = make_clone(folder / "clone"), first_repro[0]
        for name in ("cache", "tmp"):
            shutil.copytree(origin / ".dvc" / name, clone / ".dvc" / name, dirs_exist_ok=True)
        for name in (*artifacts.OUTPUTS, artifacts.METRICS):
            shutil.copytree(origin / name, clone / name, dirs_exist_ok=True)
        shutil.copy(origin / "dvc.lock", clone)
        run(clone, "git", "add", "dvc.lock", "metrics")
        run(clone, "git", "commit", "--quiet", "--allow-empty", "-m", "reproduced")

    return built_once(tmp_path_factory, "committed", build) / "clone"


@pytest.fixture
def reproduced(committed: Path, tmp_path: Path) -> Path:
    """A clone that may be changed, with all outputs and the cache, and an empty store of its own."""
    clone = tmp_path / "clone"
    shutil.copytree(committed, clone, symlinks=True)
    return clone
