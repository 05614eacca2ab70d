"""What `imagetrail predict` takes: files, folders, patterns, tables, standard input."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from forms import write
from support import REPOSITORY

from imagetrail.errors import DataError
from imagetrail.params.load import load_params
from imagetrail.predict import inputs

FILES = ["a/10.png", "a/9.png", "b.png"]


def found(given: list[object], column: str | None = None) -> tuple[list[str], list[str]]:
    """(The images, the remarks about folders.)"""
    remarks: list[str] = []
    options = load_params(REPOSITORY).download
    return [str(path) for path in inputs.images(map(str, given), options, column, remarks.append)], remarks


def test_a_folder_means_its_images_in_the_order_in_which_people_count(root: Path) -> None:
    source = write(root, {**dict.fromkeys(FILES), "notes.txt": "x", ".hidden.png": "x"})
    images, remarks = found([source, source / "b.png", source / "absent.png"])
    names = [Path(image).relative_to(source).as_posix() for image in images]
    assert names == ["a/9.png", "a/10.png", "b.png", "b.png", "absent.png"]
    assert remarks == [f"{source} holds 1 files that are not images."]


def test_a_folder_without_images_is_reported(tmp_path: Path) -> None:
    assert found([tmp_path]) == ([], [f"{tmp_path} holds no images."])


def test_a_link_to_a_folder_above_does_not_end_in_a_circle(root: Path) -> None:
    source = write(root, dict.fromkeys(FILES))
    (source / "a/up").symlink_to(source)
    assert len(found([source])[0]) == 3


def test_a_pattern_means_what_fits_it_at_any_depth(root: Path) -> None:
    source = write(root, {**dict.fromkeys(FILES), "list.csv": "image\nb.png\n"})
    assert found([source / "**/*.png"])[0] == [str(source / name) for name in ("a/9.png", "a/10.png", "b.png")]
    assert found([source / "*.csv"])[0] == [str(source / "b.png")], "a table that fits is read"
    with pytest.raises(DataError, match=r"no file fits the pattern '.*\*\.gif'; correct it"):
        found([source / "*.gif"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(root: Path) -> None:
    source = write(root, {"a[1].png": None})
    assert found([source / "a[1].png"])[0] == [str(source / "a[1].png")]


def test_a_table_names_images_from_its_folder(root: Path) -> None:
    source = write(root, {**dict.fromkeys(FILES), "list.csv": "photo;note\na/9.png;x\n/elsewhere.png;\n"})
    assert found([source / "list.csv"], "photo")[0] == [str(source / "a/9.png"), "/elsewhere.png"]
    with pytest.raises(DataError, match=r"the column 'image' of .* is not among"):
        found([source / "list.csv"])


@pytest.mark.parametrize("text", ["a.png\nb c.png\r\n\ncafé.png", "a.png\0b c.png\0café.png\0"])
def test_standard_input_names_images_line_by_line_or_between_zeros(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert found(["-"])[0] == ["a.png", "b c.png", "café.png"]


def test_a_name_between_zeros_may_hold_a_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a\nb.png\0c.png\0")))
    assert found(["-"])[0] == ["a\nb.png", "c.png"]
