"""The form of a folder is recognised, for every form of tests/download/test_forms.py and more."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from forms import FOLDERS, TABLES, pack, write, write_idx, write_parquet
from support import PATIENCE, REPOSITORY, set_params

from imagetrail.download.reading import Reading
from imagetrail.download.recognise import recognise
from imagetrail.errors import DataError
from imagetrail.files import artifacts
from stages import download

UNSAID = {"labels that differ in case and spaces"}
"""Forms that need a parameter which nobody can recognise."""


def read(root: Path) -> list[tuple[str, str, str, str]]:
    set_params(root, download__source="auto")
    download.main(root)
    return [(row.image, row.label, row.split, row.group) for row in artifacts.read_labels(root)]


@pytest.mark.parametrize("form", [form for form in TABLES if form not in UNSAID])
def test_tables_are_recognised(root: Path, form: str) -> None:
    files, _, expected = TABLES[form]
    write(root, files)
    if form == "a table in each folder, with tracks in the names":  # two tracks are too few to be seen as such
        expected = [(image, label, split, "") for image, label, split, _ in expected]
    if form == "train.csv and test.csv":
        files = {**files, "img/3.png": None, "train.csv": "image,label\nimg/1.png,cat\nimg/3.png,dog\n"}
        write(root, files)
        expected = [*expected, ("img/3.png", "dog", "train", "")]
    assert read(root) == sorted(expected)
    source = artifacts.read_source(root)
    assert source.source == "csv"
    assert all(found["reason"] for found in source.recognised.values())


@pytest.mark.parametrize("form", [form for form in FOLDERS if form != "patients above the classes"])
def test_folders_are_recognised(root: Path, form: str) -> None:
    files, _, expected = FOLDERS[form]
    if form == "labels in names":
        files = [*files, "cat.2.png", "dog.1.png", "dog.2.png"]
        expected = [(name, name[:3], "", "") for name in sorted(files)]
    if form == "tracks in names":
        files = [f"{c:05d}/{t:05d}_{n:05d}.png" for c in range(2) for t in range(4) for n in range(6)]
        expected = [(name, name[:5], "", name[6:11]) for name in sorted(files)]
    write(root, dict.fromkeys(files))
    assert read(root) == expected


def test_names_like_those_of_pets_hold_their_breeds(root: Path) -> None:
    names = [f"{breed}_{n}.png" for breed in ("american_bulldog", "Abyssinian", "Egyptian_Mau") for n in range(4)]
    write(root, dict.fromkeys(names))
    assert {row[1] for row in read(root)} == {"american_bulldog", "Abyssinian", "Egyptian_Mau"}
    pattern = artifacts.read_source(root).recognised["pattern"]
    assert pattern["value"] == "{label}_{number}.{ext}"
    assert pattern["reason"] == "names begin with 3 labels, such as 'Abyssinian'"


def test_test_images_without_labels_in_their_names_are_listed(root: Path) -> None:
    """As of the competition of cats and dogs; a name that does not fit beside others that do is still a mistake."""
    train = [f"train/{kind}.{n}.png" for kind in ("cat", "dog") for n in range(4)]
    write(root, dict.fromkeys([*train, "test1/1.png", "test1/2.png"]))
    assert [row[:3] for row in read(root)] == [(name, name[6:9], "train") for name in train]
    assert "test1/2.png,no label" in (root / "data/raw/skipped.csv").read_text()
    write(root, {"train/wolf-1.png": None})
    set_params(root, download__source="folder", download__pattern="**/{split}/{label}.{number}.{ext}")
    with pytest.raises(DataError, match=r"'train/wolf-1\.png' does not fit"):
        download.main(root)


def test_a_person_at_a_terminal_is_asked(root: Path) -> None:
    source = write(root, {"x/a/1.png": None, "x/b/2.png": None, "y/a/3.png": None, "y/b/4.png": None})
    code = (
        "from pathlib import Path; from imagetrail.doors.cli import _asked; "
        f"from imagetrail.download.recognise import recognise; print(recognise(Path({str(source)!r}), _asked).options)"
    )
    primary, secondary = os.openpty()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=secondary, stdout=subprocess.PIPE, env=environment, text=True
    )
    os.write(primary, b"7\n2\n")
    output = process.communicate(timeout=PATIENCE)[0]
    assert "all hold the same 2 folders. Which?\n  1  the classes are 'x' and 'y'" in output
    assert "'pattern': '*/{label}/**'" in output


def test_mistakes_in_an_archive_are_listed_in_the_repository(root: Path) -> None:
    table = "image,label\n" + "".join(f"../{number}.png,a\n" for number in range(50))
    pack(root / "data/source/pets.zip", ["a.png"], table)
    set_params(root, download__source="archive", download__archive="pets.zip")
    with pytest.raises(DataError, match=r"and 30 more; data/mistakes\.txt lists all"):
        download.main(root)
    assert len((root / "data/mistakes.txt").read_text().splitlines()) == 50


def test_a_competitions_tables_are_read_without_its_test(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {f"train/{n:03d}.png": None for n in range(6)} | {f"test/{n:03d}.png": None for n in range(6, 9)}
    train = "id,breed\n" + "".join(f"{n:03d},{'cat' if n % 2 else 'dog'}\n" for n in range(6))
    test = "id,size\n" + "".join(f"{n:03d},{n}\n" for n in range(6, 9))
    guesses = "id,breed\n" + "".join(f"{n:03d},cat\n" for n in range(6, 9))
    write(root, {**images, "train.csv": train, "test.csv": test, "sample_submission.csv": guesses})
    assert [row[:2] for row in read(root)] == [(f"train/{n:03d}.png", "cat" if n % 2 else "dog") for n in range(6)]
    recognised = {name: found["value"] for name, found in artifacts.read_source(root).recognised.items()}
    assert recognised == {"source": "csv", "table": "train.csv", "image_column": "id", "extension": ".png",
                          "images": "train", "label_column": "breed"}  # fmt: skip
    assert "test.csv names images, but has no column of labels: not used" in capsys.readouterr().err


def test_split_group_and_class_names_are_recognised(root: Path) -> None:
    rows = [f"{n}.png,{n % 2},{'train' if n < 8 else 'valid' if n < 10 else 'test'},p{n // 2}\n" for n in range(12)]
    names = json.dumps({"0": "healthy", "1": "rust"})
    write(root, {**{f"{n}.png": None for n in range(12)}, "data.csv": "path,y,fold,patient_id\n" + "".join(rows),
                 "names.json": names})  # fmt: skip
    found = read(root)
    assert found[0] == ("0.png", "healthy", "train", "p0")
    assert {row[2] for row in found} == {"train", "val", "test"}


def test_equal_names_below_train_and_test_are_told_apart_by_their_tables(root: Path) -> None:
    images = {f"{part}/{n}.png": None for part in ("train", "test") for n in range(4)}
    table = "image,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(4))
    write(root, {**images, "train.csv": table, "test.csv": table})
    assert {(row[0].partition("/")[0], row[2]) for row in read(root)} == {("train", "train"), ("test", "test")}


def test_parquet_is_recognised(root: Path) -> None:
    write_parquet(root / "data/source/data/train-00000-of-00001.parquet", [1, 0, 1, 0], classes=["cat", "dog"])
    assert {row[1] for row in read(root)} == {"cat", "dog"}
    source = artifacts.read_source(root)
    assert (source.source, source.image_column) == ("parquet", "image")


def test_an_archive_is_recognised_by_its_contents(root: Path) -> None:
    pack(root / "data/source/pets.zip", ["pets/a.png", "pets/b.png"])
    pack(root / "data/source/pets.zip", ["img/a.png", "img/b.png"], "file;kind\nimg/a.png;cat\nimg/b.png;dog\n")
    assert [row[:2] for row in read(root)] == [("img/a.png", "cat"), ("img/b.png", "dog")]
    recognised = artifacts.read_source(root).recognised
    assert recognised["archive"]["value"] == "pets.zip"


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_idx_files_are_recognised_by_their_folder(root: Path, name: str) -> None:
    import numpy as np

    folder = root / "data/source" / ("fashion-mnist" if name == "FashionMNIST" else "mnist")
    folder.mkdir()
    for part, count in (("train", 6), ("t10k", 3)):
        images = np.random.default_rng(0).integers(0, 255, (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images, zipped=True)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(count), zipped=True)
    set_params(root, download__source="auto", download__path=f"data/source/{folder.name}")
    download.main(root)
    assert artifacts.read_source(root).source == name


TWO_READINGS = {
    "columns": (
        {"1.png": None, "2.png": None, "3.png": None, "4.png": None,
         "t.csv": "image,colour,shape\n1.png,red,round\n2.png,blue,square\n3.png,blue,round\n4.png,red,square\n"},
        ["label_column: colour", "label_column: shape"],
    ),
    "tables": (
        {"1.png": None, "2.png": None, "a.csv": "image,label\n1.png,x\n2.png,y\n",
         "b.csv": "image;label\n1.png;p\n2.png;q\n"},
        ["table: a.csv", "table: b.csv"],
    ),
    "folders": (
        {"x/a/1.png": None, "x/b/2.png": None, "y/a/3.png": None, "y/b/4.png": None},
        ["pattern: {label}/**", "pattern: */{label}/**"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWO_READINGS)
def test_two_readings_are_refused_with_both_or_asked_about(root: Path, kind: str) -> None:
    files, ways = TWO_READINGS[kind]
    source = write(root, files)
    with pytest.raises(DataError) as error:
        read(root)
    assert all(way in str(error.value) for way in ways), error.value

    def second(question: str, readings: Sequence[Reading]) -> Reading:
        assert question
        return readings[1]

    chosen = recognise(source, second)
    assert ways[1].partition(": ")[2] in chosen.options.values()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no images, no table of their addresses, and no archive"),
        ({f"IMG{n:04d}x{n}y.png": None for n in range(4)}, "are in no class folders, no table names them"),
        ({"1.png": None, "t.csv": "image,size\n1.png,7\n"}, r"t\.csv names images, but has no column of labels"),
    ],
    ids=["nothing", "unlabelled", "a table without labels"],
)
def test_data_without_labels_are_refused(root: Path, files: dict[str, str | None], message: str) -> None:
    write(root, files)
    with pytest.raises(DataError, match=message):
        read(root)
