"""Data as people have them: each form is a small set that is read as delivered."""

import json
from pathlib import Path

import numpy as np
import pytest
from forms import FOLDERS, IMAGES, TABLES, Rows, write
from support import Web, answer, set_params

from imagetrail.errors import DataError
from imagetrail.files import artifacts
from stages import download, preprocess, split


def rows(root: Path) -> Rows:
    download.main(root)
    return [(row.image, row.label, row.split, row.group) for row in artifacts.read_labels(root)]


@pytest.mark.parametrize("form", TABLES)
def test_tables_are_read_as_delivered(root: Path, form: str) -> None:
    files, options, expected = TABLES[form]
    write(root, files)
    set_params(root, download__source="csv", **{f"download__{name}": value for name, value in options.items()})
    assert rows(root) == expected
    assert all(row.sha256 for row in artifacts.read_labels(root))


def test_absolute_paths_below_the_root_are_read(root: Path) -> None:
    source = write(root, IMAGES)
    (source / "labels.csv").write_text(f"image,label\n{source}/img/1.png,cat\n{source}/img/2.png,dog\n")
    set_params(root, download__source="csv")
    assert [row[:2] for row in rows(root)] == [("img/1.png", "cat"), ("img/2.png", "dog")]
    assert str(source) not in (root / "data/raw/labels.csv").read_text()


def test_absolute_paths_with_two_beginnings_are_rejected(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, {**IMAGES, "labels.csv": "image,label\n/a/img/1.png,cat\n/b/img/2.png,dog\n"})
    set_params(root, download__source="csv")
    with pytest.raises(DataError, match=r"line 3: '/b/img/2\.png' is outside the data root"):
        download.main(root)
    write(root, {"labels.csv": "image,label\n/a/img/1.png,cat\n/a/img/2.png,dog\n"})
    download.main(root)
    assert "its names begin with '/a/', which is left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"7": "cat", "9": "dog"}', {"7": "cat", "9": "dog"}),
        ('{"cat": 7, "dog": 9}', {"7": "cat", "9": "dog"}),
        ('["cat", "dog"]', {"0": "cat", "1": "dog"}),
    ],
)
def test_class_names_may_be_json(root: Path, text: str, names: dict[str, str]) -> None:
    table = "image,label\n" + "".join(f"img/{n}.png,{code}\n" for n, code in enumerate(names, start=1))
    write(root, {**IMAGES, "labels.csv": table, "names.json": text})
    set_params(root, download__source="csv", download__classes="names.json")
    assert [label for _, label, _, _ in rows(root)] == list(names.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"7": "cat"}', "line 3: the label '9' is not in names.json; valid names: 7"),
        ('{"7": "cat", "9": "cat"}', "has 2 codes for 'cat'; each class needs one"),
        ('{"7": ["cat"]}', "names.json cannot be read"),
        ("[" * 100000, "names.json cannot be read"),
        ('{"7": "cat", "9": " "}', "gives the code '9' no or two names"),
    ],
    ids=["unknown code", "one name twice", "lists", "nested", "blank"],
)
def test_bad_class_names_are_rejected(root: Path, text: str, message: str) -> None:
    write(root, {**IMAGES, "labels.csv": "image,label\nimg/1.png,7\nimg/2.png,9\n", "names.json": text})
    set_params(root, download__source="csv", download__classes="names.json")
    with pytest.raises(DataError, match=message):
        download.main(root)


def test_rows_that_mark_no_class_or_two_are_listed(root: Path) -> None:
    write(root, {**IMAGES, "labels.csv": "image,cat,dog\nimg/1.png,1,1\nimg/2.png,0,0\nimg/2.png,maybe,1\n"})
    set_params(root, download__source="csv", download__label_column=["cat", "dog"])
    with pytest.raises(DataError, match="has 3 mistakes") as error:
        download.main(root)
    assert "line 2: the row marks 'cat' and 'dog'; mark one class with 1" in str(error.value)
    assert "line 3: the row marks no class" in str(error.value)
    assert "line 4: 'maybe' in the column 'cat' is neither 0 nor 1" in str(error.value)


def test_images_by_address_are_fetched_once(root: Path, web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(root, {"1.png": None, "2.png": None})
    bodies = {f"/a/{name}": (source / name).read_bytes() for name in ("1.png", "2.png")}
    web.answers = [lambda handler: answer(bodies[handler.path])(handler) if handler.path in bodies
                   else answer(status=404)(handler)]  # fmt: skip
    names = [f"{web.address}/a/{number}.png" for number in (1, 2, 3)]
    write(root, {"labels.csv": "image,label\n" + "".join(f"{name},c{i}\n" for i, name in enumerate(names))})
    set_params(root, download__source="csv", preprocess__max_rejected=1)
    host = web.address.removeprefix("http://").replace(":", "_")
    assert [row[:2] for row in rows(root)] == [(f"{host}/a/{i + 1}.png", f"c{i}") for i in range(3)]
    assert "answers with status 404" in capsys.readouterr().err
    asked = len(web.requests)
    rows(root)
    assert len(web.requests) == asked + 1  # the absent one
    fetched = root / "data/raw/images" / host / "a/1.png"
    assert fetched.read_bytes() == bodies["/a/1.png"]


@pytest.mark.parametrize("form", FOLDERS)
def test_folders_are_read_as_delivered(root: Path, form: str) -> None:
    files, options, expected = FOLDERS[form]
    write(root, dict.fromkeys(files))
    set_params(root, download__source="folder", **{f"download__{name}": value for name, value in options.items()})
    assert rows(root) == expected


def test_files_beside_the_images_are_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, {"cat/1.png": None, "cat/Thumbs.db": "x", "dog/2.png": None, "dog/.DS_Store": "x", "README": "x",
                 "labels.csv": "x", "dog/3": "x", ".gitignore": "*"})  # fmt: skip
    set_params(root, download__source="folder")
    assert [row[0] for row in rows(root)] == ["cat/1.png", "dog/2.png"]
    lines = (root / "data/raw/skipped.csv").read_text().splitlines()
    assert lines[1:] == ["README,not an image", "cat/Thumbs.db,not an image", "dog/.DS_Store,hidden",
                         "dog/3,not an image", "labels.csv,not an image"]  # fmt: skip
    assert "5 files beside the images are not used (1 " in capsys.readouterr().err


def test_an_image_without_a_suffix_is_an_image(root: Path) -> None:
    source = write(root, {"cat/1.png": None, "dog/2.png": None})
    (source / "dog/2.png").rename(source / "dog/2")
    set_params(root, download__source="folder")
    assert [row[0] for row in rows(root)] == ["cat/1.png", "dog/2"]


def test_test_images_without_labels_are_listed_and_the_test_is_drawn(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = {f"train/{kind}/{number}.png": None for kind in ("cat", "dog") for number in range(10)}
    write(root, {**train, "test/1.png": None, "test/2.png": None})
    set_params(root, download__source="folder")
    assert {row[2] for row in rows(root)} == {"train"}
    assert "test/1.png,no label: its folder has no class folders" in (root / "data/raw/skipped.csv").read_text()
    preprocess.main(root)
    split.main(root)
    assert "no test rows: split.test = 0.2 of its train rows are the test" in capsys.readouterr().err
    sides = {name: len(np.load(root / f"data/split/{name}.npy")) for name in ("train", "val", "test")}
    assert sides == {"train": 12, "val": 4, "test": 4}


def test_a_name_that_does_not_fit_the_pattern_is_rejected(root: Path) -> None:
    write(root, {"cat.0.png": None, "dog-0.png": None})
    set_params(root, download__source="folder", download__pattern="{label}.*.{ext}")
    with pytest.raises(DataError, match=r"'dog-0\.png' does not fit download\.pattern = '\{label\}\.\*\.\{ext\}'"):
        download.main(root)


def test_classes_that_differ_in_case_are_a_warning(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, {"cat/1.png": None, "Cat/2.png": None, "dog/3.png": None})
    set_params(root, download__source="folder")
    assert {row[1] for row in rows(root)} == {"cat", "Cat", "dog"}
    assert "the classes 'Cat', 'cat' differ only in case or spaces" in capsys.readouterr().err


def test_class_folders_get_their_names_from_a_file(root: Path) -> None:
    write(root, {"n01/1.png": None, "n02/2.png": None, "names.json": json.dumps({"n01": "cat", "n02": "dog"})})
    set_params(root, download__source="folder", download__classes="names.json")
    assert [row[1] for row in rows(root)] == ["cat", "dog"]


def test_all_mistakes_are_in_a_file_where_they_are_many(root: Path) -> None:
    table = "image,label\n" + "".join(f"../{number}.png,a\n" for number in range(50))
    write(root, {**IMAGES, "labels.csv": table})
    set_params(root, download__source="csv")
    with pytest.raises(
        DataError, match=r"has 50 mistakes:(?s:.*)line 21: (?s:.*)and 30 more; data/mistakes\.txt lists"
    ):
        download.main(root)
    lines = (root / "data/mistakes.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"line {number}" for number in range(2, 52)]
    write(root, {"labels.csv": "image,label\nimg/1.png,a\nimg/2.png,b\n"})
    download.main(root)
    assert not (root / "data/mistakes.txt").exists()
