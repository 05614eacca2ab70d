"""The answers as files: exact for programs, safe and small for people."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import PREDICTIONS, PROBABILITIES, make_subset

from imagetrail.errors import ArtifactError
from imagetrail.evaluate import answers
from imagetrail.evaluate.inference import Predictions
from imagetrail.files import artifacts
from imagetrail.files.artifacts import TensorRow


def write(
    folder: Path, classes: list[str], labels: list[int], batches: list[np.ndarray], names: dict[int, str]
) -> None:  # fmt: skip
    """Write both files for rows 0, 1, … of some tensors, or those of the names."""
    rows = sorted(names)
    whole = np.zeros(max(rows) + 1, np.int64)
    whole[rows] = labels
    subset = make_subset(np.zeros((len(whole), 1, 2, 2), np.uint8), whole.tolist(), rows, classes)
    with answers.exact(folder, subset, names, {}) as keep:
        for batch in batches:
            keep(batch)
    answers.write_readable(folder, Predictions.of(classes, subset.rows, np.array(labels), batches), names, {})


def test_predictions_contain_image_names(tmp_path: Path) -> None:
    rows = [TensorRow(f"{n}.png", "a", "", "", "0") for n in range(10)]
    artifacts.write_rows(tmp_path / "data/tensors/rows.csv", TensorRow._fields, rows)
    names = artifacts.image_names(tmp_path, PREDICTIONS.rows.tolist())
    write(tmp_path, PREDICTIONS.classes, PREDICTIONS.labels.tolist(), [PROBABILITIES], names)
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
    assert found.truth == pytest.approx(PROBABILITIES[range(4), PREDICTIONS.labels], abs=1e-6)


def test_names_in_the_table_are_safe(tmp_path: Path) -> None:
    classes = ["=1+1", "</script><b>", "+x", "@x", "-x", "\x1b[31m", "plain"]
    write(tmp_path, classes, list(range(7)), [np.eye(7)], {row: f"<i>\n{row}.png" for row in range(7)})
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
    classes = [f"class {n}" for n in range(500)]
    write(tmp_path, classes, labels.tolist(), [shares], {row: f"{row}.png" for row in range(1000)})
    assert (tmp_path / "predictions.csv").stat().st_size < 100 * 1000
    assert (tmp_path / "predictions.parquet").stat().st_size < 1000 * 1000


def test_answers_are_sorted_by_image(tmp_path: Path) -> None:
    shares = np.array([[0.8, 0.2], [0.6, 0.4]])
    write(tmp_path, ["cat", "a, b"], [0, 1], [shares], {0: "2.png", 1: "1.png"})
    found = answers.read(tmp_path / "predictions.parquet")
    assert (found.images, found.classes) == (["1.png", "2.png"], ["cat", "a, b"])
    assert (found.labels.tolist(), found.predicted.tolist()) == ([1, 0], [0, 0])
    assert found.truth == pytest.approx([0.4, 0.8])
    assert found.confidence == pytest.approx([0.6, 0.8])


def test_batches_of_any_size_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "GROUP", 8)
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 21)
    names = {row: f"{row:02d}.png" for row in range(21)}
    written = set()
    for size in (1, 5, 8, 21):
        write(tmp_path, list("abcd"), [0] * 21, [shares[at : at + size] for at in range(0, 21, size)], names)
        written.add((tmp_path / "predictions.parquet").read_bytes() + (tmp_path / "predictions.csv").read_bytes())
    assert len(written) == 1
    found = answers.read(tmp_path / "predictions.parquet")
    assert found.images == list(names.values())
    assert found.truth == pytest.approx(shares[:, 0], abs=1e-6)
    assert pq.ParquetFile(tmp_path / "predictions.parquet").num_row_groups == 3
    write(tmp_path, list("abcd"), [0] * 16, [shares[:16]], {row: names[row] for row in range(16)})
    assert pq.ParquetFile(tmp_path / "predictions.parquet").num_row_groups == 2, "none is empty"


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
