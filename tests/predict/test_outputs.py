"""Predictions as a table, JSON Lines, CSV and Parquet; a file appears only when it is whole."""

import csv
import io
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from imagetrail.errors import ParamsError
from imagetrail.predict import outputs
from imagetrail.predict.classify import Prediction

CLASSES = ["=1+1", "ツ", "c", "d"]
GOOD = Prediction("a.png", CLASSES, np.array([0.1, 0.6, 0.2, 0.1]), ["ツ", "c"])
BAD = Prediction("\x1b[31m\udce9.png", CLASSES, error="not an image: <empty>")


def test_the_table_shows_the_likeliest_and_leaves_out_errors() -> None:
    stream = io.StringIO()
    write = outputs.table(stream)
    for prediction in (GOOD, BAD, Prediction("b\n.png", CLASSES, np.array([0.7, 0.1, 0.1, 0.1]))):
        write(prediction)
    assert stream.getvalue().splitlines() == [
        "a.png  ツ or c  ツ 0.6000  c 0.2000  =1+1 0.1000",
        "b .png  =1+1    =1+1 0.7000  ツ 0.1000  c 0.1000".replace("b .png", "b\\n.png"),
    ]


def test_json_lines_hold_all_probabilities(tmp_path: Path) -> None:
    with outputs.file(tmp_path / "out.jsonl", CLASSES) as write:
        write(GOOD)
        write(BAD)
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert first == {
        "image": "a.png", "label": "ツ", "confidence": 0.6, "labels": ["ツ", "c"],
        "probabilities": {"=1+1": 0.1, "ツ": 0.6, "c": 0.2, "d": 0.1},
    }  # fmt: skip
    assert second == {"image": BAD.image, "error": BAD.error}


def test_csv_is_safe_to_open_in_a_spreadsheet(tmp_path: Path) -> None:
    with outputs.file(tmp_path / "out.csv", CLASSES) as write:
        write(GOOD)
        write(BAD)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "image": "a.png", "label": "ツ", "confidence": "0.600000", "second": "c", "second_confidence": "0.200000",
        "third": "'=1+1", "third_confidence": "0.100000", "labels": "ツ | c", "error": "",
    }  # fmt: skip
    assert second["image"] == "\\x1b[31m\\udce9.png"
    assert (second["label"], second["error"]) == ("", "not an image: ‹empty›")


def test_parquet_holds_all_probabilities_and_the_classes(tmp_path: Path) -> None:
    with outputs.file(tmp_path / "out.parquet", CLASSES) as write:
        for number in range(outputs.GROUP + 1):
            write(GOOD if number else BAD)
    table = pq.read_table(tmp_path / "out.parquet")
    assert json.loads(table.schema.metadata[b"classes"]) == CLASSES
    assert table.num_rows == outputs.GROUP + 1
    second, last = table.slice(0, 1).to_pylist()[0], table.slice(outputs.GROUP, 1).to_pylist()[0]
    assert (second["error"], second["label"], second["probabilities"]) == (BAD.error, None, None)
    assert last == {
        "image": "a.png", "label": "ツ", "confidence": 0.6, "probabilities": [0.1, 0.6, 0.2, 0.1],
        "labels": ["ツ", "c"], "error": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_a_file_that_fails_half_way_leaves_the_earlier_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("earlier")
    with suppress(ZeroDivisionError), outputs.file(tmp_path / name, CLASSES) as write:
        write(GOOD)
        1 / 0  # noqa: B018
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "earlier")]


def test_another_extension_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"--output = 'out\.txt' must end in \.jsonl, \.csv, \.parquet"), \
         outputs.file(Path("out.txt"), CLASSES):  # fmt: skip
        pass
