"""A store that cannot be opened is one sentence, whoever asks."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from imagetrail.errors import ArtifactError
from imagetrail.tracking import logged_model, registry, store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of its own insides

QUESTIONS: dict[str, Callable[[Path], object]] = {
    "a run": lambda root: registry.find(root, "abc"),
    "a champion": lambda root: registry.champion(root, "digits"),
    "a baseline": lambda root: registry.answers(root, "0" * 32),
    "a model": lambda root: logged_model.load(root, "0" * 32),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_experiment_created_by_a_server_is_reported(
    root: Path, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the old code a RuntimeError escaped: a traceback in compare and in the gate."""
    import mlflow

    store.prepare(root)
    mlflow.MlflowClient(store.local(root)).create_experiment("shared", artifact_location="mlflow-artifacts:/1")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shared")
    with pytest.raises(ArtifactError, match=r"experiment 'shared' was made by a server.*MLFLOW_TRACKING_URI"):
        QUESTIONS[question](root)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_corrupt_database_is_reported(root: Path, question: str) -> None:
    (root / "mlflow.db").write_bytes(b"SQLite format 3\0 and nothing that follows from it" * 100)
    with pytest.raises(ArtifactError, match=r"file is not a database.*`mlflow ui` lists the runs"):
        QUESTIONS[question](root)


def test_a_password_in_the_address_of_the_store_is_not_printed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:canary@127.0.0.1:{closed.getsockname()[1]}")
        for question in QUESTIONS.values():
            with pytest.raises(ArtifactError) as caught:
                question(root)
            assert "canary" not in str(caught.value)
