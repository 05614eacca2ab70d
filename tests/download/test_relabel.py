"""Corrected labels: what relabel.csv may hold, and what download makes of it."""

import json
from pathlib import Path

import pytest
from clones import make_clone
from matplotlib.figure import Figure
from support import set_params

from imagetrail import drawing
from imagetrail.errors import DataError
from imagetrail.files import artifacts
from stages import download, preprocess


def write(root: Path, text: str) -> None:
    (root / "data/source/relabel.csv").write_text(text, encoding="utf-8")


def labels(root: Path) -> dict[str, str]:
    return {row.image: row.label for row in artifacts.read_labels(root)}


def test_corrections_change_labels_and_leave_images_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = drawing.save
    monkeypatch.setattr(drawing, "save", lambda figure, path: (drawn.append(figure), save(figure, path)))
    download.main(root)
    before = labels(root)
    first, second, *_ = before
    write(root, f'image,label,reason\n{first},7,"seen: a seven, not a zero"\n{second},drop,blurred\n')
    download.main(root)
    after = labels(root)
    assert after.pop(first) == "7"
    assert second not in after
    assert after == {name: label for name, label in before.items() if name not in (first, second)}
    preprocess.main(root)
    counted = {"relabelled": 1, "dropped": 1}
    assert json.loads((root / "data/raw/source.json").read_text())["corrections"] == counted
    assert artifacts.read_dataset(root).corrections == counted
    titles = [axes.get_title(loc="left") for axes in drawn[0].subfigs[0].axes]
    assert "1,796 images of 10 classes, 1 relabelled, 1 dropped" in titles
    (root / "data/source/relabel.csv").unlink()
    download.main(root)
    assert labels(root) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na,1\n", "must have the columns image, label, reason in each line"),
        ("image,label,reason\na,1\n", "must have the columns image, label, reason in each line"),
        ("", "must have the columns image, label, reason in each line"),
        ('image,label,reason\n\'a"b,1,x\nc,"1"x,\n', "cannot be read"),
        ("image,label,reason\nnobody.png,1,x\n", "no image is named 'nobody.png'; take names from data/raw/labels.csv"),
        ("image,label,reason\nFIRST,eleven,x\n", "no image is 'eleven'; valid names: 0, 1, 2"),
        ("image,label,reason\nFIRST, ,x\n", "gives 'FIRST' no label; give one, or drop"),
        ("image,label,reason\nFIRST,1,x\nFIRST,2,x\n", "names 'FIRST' 2 times; keep one line for it"),
        ("image,label,reason\n" + "".join(f"{n},1,x\n" for n in range(9)), "and 4 more"),
    ],
)
def test_bad_corrections_are_refused_and_keep_the_earlier_table(root: Path, text: str, message: str) -> None:
    download.main(root)
    before = labels(root)
    write(root, text.replace("FIRST", next(iter(before))))
    with pytest.raises(DataError, match=message.replace("FIRST", next(iter(before)))):
        download.main(root)
    assert labels(root) == before


def test_a_class_named_drop_is_not_taken_for_an_order(root: Path) -> None:
    from PIL import Image

    for number, label in enumerate(("drop", "drop", "keep", "keep")):
        folder = root / "data/source" / label
        folder.mkdir(exist_ok=True)
        Image.new("L", (8, 8), number * 40).save(folder / f"{number}.png")
    set_params(root, download__source="folder")
    write(root, "image,label,reason\nkeep/2.png,drop,x\n")
    with pytest.raises(DataError, match=r"drop leaves an image out, and the data has a class of this name"):
        download.main(root)
    write(root, "image,label,reason\n")
    download.main(root)
    assert len(labels(root)) == 4


def test_the_file_of_corrections_is_not_taken_for_data(root: Path) -> None:
    from PIL import Image

    source = root / "data/source"
    for number in range(4):
        Image.new("L", (8, 8), number * 40).save(source / f"{number}.png")
    (source / "labels.csv").write_text("image,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(4)))
    write(root, "image,label,reason\n0.png,b,seen\n")
    for changes in ({"download__source": "csv", "download__table": "*.csv"}, {"download__source": "auto"}):
        set_params(root, **changes)
        download.main(root)
        assert labels(root) == {"0.png": "b", "1.png": "b", "2.png": "a", "3.png": "b"}, changes


def test_a_temporary_copy_does_not_silently_lack_corrections(root: Path, tmp_path: Path, monkeypatch) -> None:
    write(root, "image,label,reason\n")
    copy = tmp_path / "copy"
    (copy / "data/source").mkdir(parents=True)
    (copy / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    monkeypatch.setenv("DVC_ROOT", str(root))
    with pytest.raises(DataError, match=r"data/source/relabel.csv is missing from this temporary copy.*--copy-paths"):
        download.main(copy)


def test_git_keeps_corrections(tmp_path: Path) -> None:
    """They are decisions of people, which belong to the history."""
    import subprocess

    clone = make_clone(tmp_path / "clone")
    write(clone, "image,label,reason\n")
    (clone / "data/source/picture.png").write_bytes(b"x")
    found = subprocess.run(
        ["git", "status", "--porcelain", "data"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert found.stdout == "?? data/source/relabel.csv\n"
