"""`imagetrail export`: files that answer as the model does, logged with the proof, or not at all."""

import copy
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from clones import mlflow_runs, run
from samples import CARD
from support import REPOSITORY, make_trained, set_params

from imagetrail.errors import ArtifactError, GateError
from imagetrail.evaluate import answers
from imagetrail.export import exporter, onnx_file
from imagetrail.files import arrays
from imagetrail.model import probabilities
from imagetrail.model.classifier import Classifier
from imagetrail.params import recipes
from stages import split

pytestmark = [pytest.mark.xdist_group("export"), pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained(
        tmp_path_factory.mktemp("export"), train__epochs=6, model__widths=[64, 128], export__agreement=0.95
    )


@pytest.mark.parametrize(("form", "close", "smaller"), [("onnx", 1e-5, 0.8), ("onnx-int8", 0.2, 2)])
def test_a_file_answers_every_test_image_as_the_model(
    trained: Path, form: str, close: float, smaller: float, tmp_path: Path
) -> None:
    import mlflow

    (logged,) = mlflow_runs(trained)
    done = run(trained, "imagetrail", "export", logged.info.run_id[:8], "--to", form)
    assert f"holds them in export/{form}" in done.stdout
    client = mlflow.MlflowClient(f"sqlite:///{trained.resolve()}/mlflow.db")
    folder = Path(client.download_artifacts(logged.info.run_id, f"export/{form}", str(tmp_path)))

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    test = arrays.open_subset(trained, "test")
    (found,) = session.run(["probabilities"], {"images": test.images[test.rows]})
    tested = answers.read(trained / "plots" / answers.EXACT)
    order = np.argsort(tested.images)
    labels = found.argmax(1)
    figures = json.loads((folder / "agreement.json").read_text())
    assert figures["n"] == len(test)
    assert figures["agreement"] == pytest.approx((labels == tested.predicted[order]).mean(), abs=1e-9)
    assert figures["accuracy"][1] == pytest.approx((labels == test.labels[test.rows]).mean())
    assert figures["accuracy"][0] == json.loads((trained / "metrics/test.json").read_text())["accuracy"]
    assert np.abs(found.max(1) - tested.confidence[order]).max() < close
    assert 0 < figures["largest_difference"] < close
    assert figures["bytes"][1] == (folder / "model.onnx").stat().st_size < figures["bytes"][0] / smaller
    with (folder / "agreement.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)][:3] == ["figure", "same label", "accuracy"]

    described = {entry.key: json.loads(entry.value) for entry in onnx.load(folder / "model.onnx").metadata_props}
    assert described["classes"] == list("0123456789")
    assert described["run_id"] == logged.info.run_id
    assert described["model_sha256"] == logged.data.tags["imagetrail.model_sha256"]
    assert {(one.domain, one.version) for one in onnx.load(folder / "model.onnx").opset_import} >= {("", 20)}
    for count in (1, 3):
        assert session.run(None, {"images": test.images[:count]})[0].shape == (count, 10)


def test_too_little_agreement_fails_and_logs_nothing(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    write = onnx_file.write

    def write_another(model: Classifier, path: Path, about: dict[str, object]) -> None:
        other = copy.deepcopy(model)
        torch.nn.init.zeros_(list(other.parameters())[-2])  # the last weights: each image gets the same label
        write(other, path, about)

    monkeypatch.setattr(onnx_file, "write", write_another)
    (logged,) = mlflow_runs(trained)
    client = mlflow.MlflowClient(f"sqlite:///{trained.resolve()}/mlflow.db")
    before = files_of(client, logged.info.run_id)
    with pytest.raises(GateError, match=r"has the model's label for 0\.[01]\d+ of 359 .* nothing was logged"):
        exporter.export(trained, logged.info.run_id, "onnx")
    assert files_of(client, logged.info.run_id) == before


def files_of(client: object, run_id: str, folder: str = "export") -> list[tuple[str, int]]:
    return [(file.path, file.file_size) for file in client.list_artifacts(run_id, folder)]  # type: ignore[attr-defined]


def test_other_test_rows_than_the_runs_are_refused(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(trained, root)
    (logged,) = mlflow_runs(root)
    set_params(root, split__seed=1)
    split.main(root)
    with pytest.raises(ArtifactError, match=r"the test rows here .* are not those of run"):
        exporter.export(root, logged.info.run_id, "onnx")


@pytest.mark.parametrize(
    ("name", "size", "seen", "arguments"),
    [
        ("TinyCNN", 28, None, {}), ("MLP", 12, None, {"hidden": [8], "dropout": 0.1}),
        ("resnet18", 32, [48, 48], {"freeze": False}), ("resnet18", 32, [24, 28], {"freeze": False}),
        ("WhitenedCNN", 32, None, {"widths": [4, 8], "convolutions": 3}),
        ("mobilenet_v3_small", 32, None, {"freeze": False}), ("vit_b_16", 224, None, {"freeze": False}),
    ],
)  # fmt: skip
def test_networks_become_onnx(
    tmp_path: Path, name: str, size: int, seen: list[int] | None, arguments: dict[str, object]
) -> None:
    torch.manual_seed(0)
    arguments = arguments or recipes.params(REPOSITORY, "mnist-tiny").model.arguments
    card = replace(
        CARD, name=name, arguments=arguments, image_size=[size, size], input_size=seen, views="shifts"
    )  # fmt: skip
    model = Classifier(card).eval()
    onnx_file.write(model, tmp_path / "model.onnx", {})
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    (expected,) = probabilities.of_batches(model, [pixels], torch.device("cpu"))
    found = onnx_file.probabilities(onnx_file.opened(tmp_path / "model.onnx", 2), pixels)
    assert np.abs(found - expected).max() < 1e-4
