"""A password in the address of the store is in no output, file, run or page."""

import os
from pathlib import Path

import pytest
from clones import SMALL, free_port, make_clone, run, server

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of its own insides

SECRET = "-".join(("hunter2", "planted"))  # which this file does not hold


def holders(folder: Path) -> list[str]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".venv"]
        files = [path for name in names if (path := Path(place) / name).is_file()]
        found += [path.relative_to(folder).as_posix() for path in files if SECRET.encode() in path.read_bytes()]
    return found


def test_a_planted_password_is_nowhere(tmp_path: Path) -> None:
    clone, port = make_clone(tmp_path / "clone"), free_port()
    address = f"http://reader:{SECRET}@127.0.0.1:{port}"
    (tmp_path / "store").mkdir()
    printed = []

    def imagetrail(*arguments: str, uri: str = address) -> str:
        done = run(clone, *arguments, code=None, MLFLOW_TRACKING_URI=uri, OMP_WAIT_POLICY="passive")
        printed.append(f"{arguments[:2]}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    with server(
        tmp_path / "store", "mlflow", "server", "--port", str(port), "--workers", "1", "--backend-store-uri",
        "sqlite:///store.db", "--artifacts-destination", "artifacts", port=port, url=f"http://127.0.0.1:{port}/health",
    ):  # fmt: skip
        imagetrail("dvc", "exp", "run", *SMALL)
        name = "digits epochs=1 widths=[8,16]"
        imagetrail("imagetrail", "compare", name, name, "--page", str(tmp_path / "page.html"))
        imagetrail("imagetrail", "predict", "--run", "nobody", "data/raw/images/digit-0000.png")
    for uri in (address, f"postgresql+psycopg://reader:{SECRET}@127.0.0.1:{port}/runs"):
        imagetrail("imagetrail", "compare", "a", "b", uri=uri)
        imagetrail("imagetrail", "reproduce", "a", uri=uri)
        imagetrail("imagetrail", "predict", "--run", "a", "data/raw/images/digit-0000.png", uri=uri)
        imagetrail("imagetrail", "move-store", uri, uri=uri)
        imagetrail("python", "-m", "stages", uri=uri)
    imagetrail("dvc", "repro", "--force", "--single-item", "evaluate")
    assert "continuing without it" in printed[-1], "the store does not answer"
    for text in printed:
        assert SECRET not in text
        assert "Traceback" not in text
    assert holders(tmp_path) == []
