"""Data that DVC brings: from a bucket, or from another repository; through every door, and back by push and pull."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from clones import SMALL, free_port, make_clone, mlflow_runs, project_run, run, write_photos
from moto.server import ThreadedMotoServer
from support import set_params

from imagetrail.files import artifacts

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
FOLDERS = ("-S", "download.source=folder", "-S", "preprocess.image_size=16", "-S", "preprocess.channels=3", *SMALL)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server on loopback, with photographs in class folders in the bucket `pets`."""
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    settings = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1",
                "ENDPOINT_URL": address}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="pets")
    for path in class_folders(tmp_path / "pets").rglob("*.*"):
        client.upload_file(str(path), "pets", path.relative_to(tmp_path / "pets").as_posix())
    yield address
    server.stop()


def class_folders(folder: Path) -> Path:
    photos = folder.parent / "photos"
    photos.mkdir()
    write_photos(photos)
    for number, path in enumerate(sorted(photos.glob("[0-9]*"))):
        target = folder / ("light" if number % 2 else "dark") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def test_images_of_a_bucket_go_through_every_door_and_back(tmp_path: Path, bucket: str) -> None:
    first = make_clone(tmp_path / "first")
    run(first, "dvc", "import-url", "s3://pets", "data/source/pets")
    run(first, "dvc", "remote", "add", "--default", "store", "s3://pets/dvc")
    run(first, "git", "add", "-A")
    run(first, "git", "commit", "--quiet", "-m", "pets")
    run(first, "dvc", "exp", "run", *FOLDERS)
    model = artifacts.read_card(first)["sha256"]
    run(first, "git", "commit", "--quiet", "--all", "-m", "trained")
    run(first, "dvc", "push")

    run(tmp_path, "git", "clone", "--quiet", str(first), "second")
    second = tmp_path / "second"
    (second / ".venv").symlink_to(first / ".venv")
    run(second, "dvc", "pull")
    assert artifacts.read_card(second)["sha256"] == model
    assert "Running stage" not in run(second, "dvc", "repro").stdout
    project_run(second, "train.seed=1")
    (logged,) = mlflow_runs(second)
    assert (logged.info.status, logged.inputs.dataset_inputs[0].dataset.name) == ("FINISHED", "folder")
    run(second, "dvc", "exp", "run", "--temp", "-S", "train.seed=2")
    assert len(mlflow_runs(second)) == 2


def test_data_of_another_repository_are_imported(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    class_folders(other / "pets")
    for command in (("git", "init", "--quiet"), ("dvc", "init", "--quiet"), ("dvc", "add", "--quiet", "pets"),
                    ("git", "add", "-A"), ("git", "commit", "--quiet", "-m", "pets")):  # fmt: skip
        run(other, *command)
    clone = make_clone(tmp_path / "clone")
    run(clone, "dvc", "import", str(other), "pets", "--out", "data/source/pets")
    set_params(clone, download__source="folder", preprocess__image_size=16, train__epochs=1, model__widths=[8])
    run(clone, "dvc", "repro")
    assert artifacts.read_dataset(clone).counts == {"dark": 12, "light": 12}
