"""`predict --run` reads the weights of a logged model and runs nothing that the store holds."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support import make_root

from imagetrail.errors import ArtifactError
from imagetrail.model import classifier, exported
from imagetrail.tracking import logged_model
from stages import download, preprocess, split, train

pytestmark = [
    pytest.mark.xdist_group("hostile"),  # one process builds the fixtures of the module
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow and torch.export warn of their own insides
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
        if name == "metadata":
            tree["metadata"] |= value
        else:
            tree["flavors"]["python_function"][name] = value
    path.write_text(yaml.safe_dump(tree))


def test_predict_loads_the_weights_that_train_wrote(root: Path, logged: tuple[str, Path]) -> None:
    ours, theirs = classifier.load(root / "models"), logged_model.load(root, logged[0])
    assert theirs.card == ours.card
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_a_loader_inside_the_model_is_not_imported(root: Path, logged: tuple[str, Path], tmp_path: Path) -> None:
    run_id, folder = logged
    canary = tmp_path / "canary"
    (folder / "code").mkdir()
    (folder / "code" / "own_loader.py").write_text(f"from pathlib import Path\nPath({str(canary)!r}).touch()\n")
    change(folder, loader_module="own_loader", code="code")
    logged_model.load(root, run_id)  # the weights are as good as before
    assert not canary.exists()


def test_pickles_are_rejected(root: Path, logged: tuple[str, Path], tmp_path: Path) -> None:
    run_id, folder = logged
    canary = tmp_path / "canary"
    (program,) = folder.rglob("*.pt2")
    program.unlink()
    with pytest.raises(ArtifactError, match=r"it holds 0 \.pt2 files"):
        logged_model.load(root, run_id)
    program.write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(ArtifactError, match=r"model\.pt2 holds no plain weights"):
        logged_model.load(root, run_id)
    assert not canary.exists()


def test_pickles_inside_an_archive_are_rejected(tmp_path: Path) -> None:
    good, bad, canary = tmp_path / "good.pt2", tmp_path / "bad.pt2", tmp_path / "canary"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), good)
    buffer = io.BytesIO()
    torch.save(Canary(canary), buffer)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith(exported.WEIGHTS_TABLE):
                table = json.loads(content)
                table["config"]["weight"]["use_pickle"] = True
                content = json.dumps(table).encode()
            elif info.filename.endswith("/data/weights/weight_0"):
                content = buffer.getvalue()
            target.writestr(info.filename, content)
    assert set(exported.read_weights(good)) == {"weight", "bias"}
    with pytest.raises(ArtifactError, match="weight_0 is not a plain tensor"):
        exported.read_weights(bad)
    assert not canary.exists()
    with suppress(Exception):
        torch.export.load(bad)
    assert canary.exists(), "torch itself runs what the archive holds: this test can fail"


def test_changed_weights_or_cards_are_rejected(root: Path, logged: tuple[str, Path]) -> None:
    run_id, folder = logged
    (program,) = folder.rglob("*.pt2")
    kept = program.read_bytes()
    damaged = bytearray(kept)
    values = next(iter(exported.read_weights(program).values())).numpy().tobytes()
    damaged[kept.index(values)] ^= 1
    program.write_bytes(damaged)
    with pytest.raises(ArtifactError, match=r"holds no plain weights|and its card says"):
        logged_model.load(root, run_id)
    program.write_bytes(kept)
    change(folder, metadata={"name": "TinyCNN"})
    with pytest.raises(ArtifactError, match="do not fit the network TinyCNN"):
        logged_model.load(root, run_id)
