"""The answers as files: exact for programs, safe and small for people."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import PREDICTIONS

from imagetrail.errors import ArtifactError
from imagetrail.evaluate import answers
from imagetrail.evaluate.inference import Predictions
from imagetrail.files import artifacts
from imagetrail.files.artifacts import TensorRow


def test_predictions_contain_image_names(tmp_path: Path) -> None:
    rows = [TensorRow(f"{n}.png", "a", "", "", "0") for n in range(10)]
    artifacts.write_rows(tmp_path / "data/tensors/rows.csv", TensorRow._fields, rows)
    names = artifacts.image_names(tmp_path, PREDICTIONS.rows.tolist())
    answers.write(tmp_path, PREDICTIONS, names)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["image"] for line in lines] == ["2.png", "5.png", "7.png", "9.png"]
    assert lines[1] == {
        "image": "5.png", "label": "a", "predicted": "b", "confidence": "0.800000",
        "second": "a", "second_confidence": "0.200000", "third": "c", "third_confidence": "0.000000",
    }  # fmt: skip
    found = answers.read(tmp_path / "predictions.parquet")
    assert (found.images, found.classes) == (["2.png", "5.png", "7.png", "9.png"], PREDICTIONS.classes)
    assert found.labels.tolist() == PREDICTIONS.labels.tolist()
    assert found.predicted.tolist() == PREDICTIONS.predicted.tolist()
    assert found.truth == pytest.approx(PREDICTIONS.probabilities[range(4), PREDICTIONS.labels], abs=1e-6)


def test_names_in_the_table_are_safe(tmp_path: Path) -> None:
    classes = ["=1+1", "</script><b>", "+x", "@x", "-x", "\x1b[31m", "plain"]
    predictions = Predictions(classes, np.arange(7), np.arange(7), np.eye(7))
    answers.write(tmp_path, predictions, {row: f"<i>\n{row}.png" for row in range(7)})
    with (tmp_path / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    shown = ["'=1+1", "‹/script›‹b›", "'+x", "'@x", "'-x", "\\x1b[31m", "plain"]
    assert [line["label"] for line in lines] == [line["predicted"] for line in lines] == shown
    assert lines[3]["image"] == "‹i›\\n3.png"
    found = answers.read(tmp_path / "predictions.parquet")
    assert (found.classes, found.images[3]) == (classes, "<i>\n3.png")


def test_the_files_of_many_classes_stay_small(tmp_path: Path) -> None:
    """500 classes had 181 MB for 40,000 rows as text: 4,525 bytes a row."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1000, 500))
    labels = rng.integers(0, 500, 1000)
    logits[np.arange(1000), labels] += 12
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = Predictions([f"class {n}" for n in range(500)], np.arange(1000), labels, shares)
    answers.write(tmp_path, predictions, {row: f"{row}.png" for row in range(1000)})
    assert (tmp_path / "predictions.csv").stat().st_size < 100 * 1000
    assert (tmp_path / "predictions.parquet").stat().st_size < 1000 * 1000


def test_answers_are_sorted_by_image(tmp_path: Path) -> None:
    shares = np.array([[0.8, 0.2], [0.6, 0.4]])
    predictions = Predictions(["cat", "a, b"], np.array([0, 1]), np.array([0, 1]), shares)
    answers.write(tmp_path, predictions, {0: "2.png", 1: "1.png"})
    found = answers.read(tmp_path / "predictions.parquet")
    assert (found.images, found.classes) == (["1.png", "2.png"], ["cat", "a, b"])
    assert (found.labels.tolist(), found.predicted.tolist()) == ([1, 0], [0, 0])
    assert found.truth == pytest.approx([0.4, 0.8])
    assert found.confidence == pytest.approx([0.6, 0.8])


def damaged_tables() -> dict[str, pa.Table]:
    table = pa.table({"image": ["1.png"], "label": [0], "predicted": [0]})
    shares = pa.FixedSizeListArray.from_arrays(pa.array([0.5, 0.5], pa.float32()), 2)
    whole = table.append_column("probabilities", shares)
    return {
        "no column": table.replace_schema_metadata({"classes": '["a", "b"]'}),
        "no class names": whole,
        "three names": whole.replace_schema_metadata({"classes": '["a", "b", "c"]'}),
        "a class beyond": whole.set_column(1, "label", [[2]]).replace_schema_metadata({"classes": '["a", "b"]'}),
        "a negative class": whole.set_column(1, "label", [[-1]]).replace_schema_metadata({"classes": '["a", "b"]'}),
    }


@pytest.mark.parametrize("case", damaged_tables())
def test_damaged_answers_are_reported(tmp_path: Path, case: str) -> None:
    pq.write_table(damaged_tables()[case], tmp_path / "predictions.parquet")
    with pytest.raises(ArtifactError, match="cannot be read"):
        answers.read(tmp_path / "predictions.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"image,label\n1.png,cat\n"])
def test_other_files_are_not_answers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "predictions.parquet").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        answers.read(tmp_path / "predictions.parquet")
