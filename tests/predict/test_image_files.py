"""What `imagetrail predict` takes: files and folders."""

from pathlib import Path

from forms import write

from imagetrail.predict import image_files


def test_a_folder_means_its_images_in_the_order_in_which_people_count(root: Path) -> None:
    files = ["a/10.png", "a/9.png", "b.png"]
    source = write(root, {**dict.fromkeys(files), "notes.txt": "x", ".hidden.png": "x"})
    found, remarks = image_files.expanded([source, source / "b.png", source / "absent.png"])
    names = [path.relative_to(source).as_posix() for path in found]
    assert names == ["a/9.png", "a/10.png", "b.png", "b.png", "absent.png"]
    assert remarks == [f"{source} holds 1 files that are not images"]


def test_a_folder_without_images_is_reported(tmp_path: Path) -> None:
    assert image_files.expanded([tmp_path]) == ([], [f"{tmp_path} holds no images"])
