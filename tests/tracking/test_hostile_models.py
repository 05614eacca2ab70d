"""`predict --run` reads the weights of a logged model and runs nothing that the store holds."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml
from support import make_root

from imagetrail.errors import ArtifactError
from imagetrail.model import classifier
from imagetrail.tracking import logged_model
from stages import download, preprocess, split, train

pytestmark = [
    pytest.mark.xdist_group("hostile"),  # one process builds the fixtures of the module
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow warns of its own insides
]


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a small training."""
    root = make_root(tmp_path_factory.mktemp("hostile"), train__epochs=1, model__widths=[4, 4])
    for stage in (download, preprocess, split, train):
        stage.main(root)
    return root


@pytest.fixture
def logged(root: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(run id, folder of its model in mlruns/) of the training; the folder is restored after the test."""
    import mlflow

    (run,) = mlflow.MlflowClient(f"sqlite:///{root.resolve()}/mlflow.db").search_runs(["0"])
    (mlmodel,) = (root / "mlruns").rglob("MLmodel")
    shutil.copytree(mlmodel.parent, tmp_path / "kept")
    yield run.info.run_id, mlmodel.parent
    shutil.rmtree(mlmodel.parent)
    shutil.copytree(tmp_path / "kept", mlmodel.parent)


def change(folder: Path, **values: object) -> None:
    path = folder / "MLmodel"
    tree = yaml.safe_load(path.read_text())
    for name, value in values.items():
        tree["flavors"]["python_function"][name] = value
    path.write_text(yaml.safe_dump(tree))


def test_predict_loads_the_weights_that_train_wrote(root: Path, logged: tuple[str, Path]) -> None:
    ours, theirs = classifier.load(root / "models"), logged_model.load(root, logged[0])
    assert theirs.card == ours.card
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_code_inside_the_model_is_not_run(root: Path, logged: tuple[str, Path], tmp_path: Path) -> None:
    run_id, folder = logged
    canary = tmp_path / "canary"
    poison = f"from pathlib import Path\nPath({str(canary)!r}).touch()\n"
    (folder / "code" / "own_loader.py").write_text(poison)
    for file in (*folder.glob("*.py"), *(folder / "code").rglob("*.py")):
        file.write_text(poison)
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Canary(canary)))
    change(folder, loader_module="own_loader", python_model="python_model.pkl")
    logged_model.load(root, run_id)  # the weights are as good as before
    assert not canary.exists()
    with suppress(Exception):
        mlflow.pyfunc.load_model(str(folder))
    assert canary.exists(), "MLflow itself runs what the model holds: this test can fail"


def test_pickles_are_rejected(root: Path, logged: tuple[str, Path], tmp_path: Path) -> None:
    run_id, folder = logged
    canary = tmp_path / "canary"
    weights = folder / logged_model.FILES_OF_TRAIN / classifier.WEIGHTS_FILE
    content = pickle.dumps(Canary(canary))
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.safetensors has sha256 .* train it again"):
        logged_model.load(root, run_id)
    edit_card(folder, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactError, match="is not a safetensors file"):
        logged_model.load(root, run_id)
    weights.unlink()
    with pytest.raises(ArtifactError, match="was not logged by this imagetrail"):
        logged_model.load(root, run_id)
    assert not canary.exists()


def test_changed_weights_or_cards_are_rejected(root: Path, logged: tuple[str, Path]) -> None:
    run_id, folder = logged
    weights = folder / logged_model.FILES_OF_TRAIN / classifier.WEIGHTS_FILE
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"has sha256 .* and model\.json names"):
        logged_model.load(root, run_id)
    weights.write_bytes(kept)
    edit_card(folder, name="TinyCNN")
    with pytest.raises(ArtifactError, match="do not fit the network TinyCNN"):
        logged_model.load(root, run_id)


def edit_card(folder: Path, **values: object) -> None:
    path = folder / logged_model.FILES_OF_TRAIN / classifier.CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
