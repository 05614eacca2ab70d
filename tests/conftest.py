"""What the tests share: a repository in a temporary folder, and the rule that nothing reaches a network."""

import os
import shutil
import subprocess
from collections.abc import Iterator
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
    """Fast tests open no socket at all; slow ones start servers of their own on loopback."""
    import pytest_socket

    if "slow" in request.keywords:
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "DVC_", "IMAGETRAIL_")) and name != "IMAGETRAIL_TEST_DATA":
            monkeypatch.delenv(name)
    # MLflow creates these as it is imported; a test must not see another's.
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def test_data() -> Path:
    """Real images, where the machine has them: the folder IMAGETRAIL_TEST_DATA."""
    folder = os.environ.get("IMAGETRAIL_TEST_DATA", "")
    need(folder, "IMAGETRAIL_TEST_DATA, a folder of real images")
    return Path(folder).resolve()


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
