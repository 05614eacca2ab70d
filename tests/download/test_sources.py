"""Every source gives the same table; a bad table is refused whole."""

import csv
import io
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forms import pack, write_idx, write_parquet
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import REPOSITORY, Web, answer, set_params

from imagetrail.download import names
from imagetrail.download.job import SourceJob
from imagetrail.download.sources import SOURCES
from imagetrail.download.table import LINE_LIMIT
from imagetrail.errors import DataError, ParamsError
from imagetrail.files import artifacts
from imagetrail.params.download import DELIMITERS, Download
from imagetrail.params.load import load_params
from imagetrail.preprocess.readers import open_reader
from stages import download, preprocess


def test_the_source_parameter_lists_all_sources(root: Path) -> None:
    annotation = Download.model_fields["source"].annotation
    assert {*SOURCES, "auto"} == set(annotation.__args__)


def test_digits_has_1797_images(root: Path) -> None:
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert len(rows) == 1797
    assert {row.label for row in rows} == set("0123456789")
    assert [row.image for row in rows] == sorted(row.image for row in rows)
    image = np.asarray(Image.open(root / "data/raw/images" / rows[0].image))
    assert (image.shape, image.min(), image.max()) == ((8, 8), 0, 239)


def write_table(root: Path, text: str | bytes, images: int = 4) -> None:
    source = root / "data/source"
    for number in range(images):
        Image.new("RGB", (9, 9), (number * 20, 0, 0)).save(source / f"{number}.png")
    (source / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    set_params(root, download__source="csv")


def test_csv_images_are_used_in_place(root: Path) -> None:
    write_table(root, "label,image\nb,1.png\na,0.png\n01,2.png\nNA,3.png\n")
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert [(row.image, row.label) for row in rows] == [
        ("0.png", "a"),
        ("1.png", "b"),
        ("2.png", "01"),
        ("3.png", "NA"),
    ]
    assert rows[0].sha256 == artifacts.file_sha256(root / "data/source/0.png")
    assert rows[0].size == str((root / "data/source/0.png").stat().st_size)
    assert {p.name for p in (root / "data/raw").iterdir()} == {"labels.csv", "source.json"}


def test_csv_appends_the_extension_to_names(root: Path) -> None:
    write_table(root, "Image_Name,Lable\n1,b\n0,a\n")
    set_params(root, download__image_column="Image_Name", download__label_column="Lable", download__extension=".png")
    download.main(root)
    assert [(row.image, row.label, bool(row.sha256)) for row in artifacts.read_labels(root)] == [
        ("0.png", "a", True),
        ("1.png", "b", True),
    ]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('image,label\n0.png, "cat"\n1.png,cat\n2.png, dog\n', [("cat", ""), ("cat", ""), ("dog", "")]),
        ('image, "label"\n0.png,caf\u00e9\n1.png,cafe\u0301\n', [("caf\u00e9", ""), ("caf\u00e9", "")]),
        ("image,label,part\n0.png,a,Valid\n1.png,a,validation\n2.png,a,dev\n3.png,a,Training\n",
         [("a", "val"), ("a", "val"), ("a", "val"), ("a", "train")]),
    ],
    ids=["quotes after a space", "composed and decomposed letters", "words for splits"],
)  # fmt: skip
def test_one_class_and_one_split_have_one_spelling(root: Path, text: str, rows: list[tuple[str, str]]) -> None:
    write_table(root, text)
    if "part" in text:
        set_params(root, download__split_column="part")
    download.main(root)
    assert [(row.label, row.split) for row in artifacts.read_labels(root)] == rows


def test_a_control_character_in_a_label_is_rejected(root: Path) -> None:
    """A carriage return tore labels.csv, which preprocess then could not read."""
    write_table(root, 'image,label\n0.png,a\n1.png,"big\rdog"\n')
    with pytest.raises(DataError, match=r"the label 'big\\rdog' of '1\.png' holds a control character"):
        download.main(root)


def make_folders(root: Path, *names: str) -> Path:
    source = root / "data/source"
    for number, name in enumerate(names):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (number * 20, 0, 0)).save(path)
    set_params(root, download__source="folder")
    return source


def test_folders_are_classes(root: Path) -> None:
    make_folders(root, "rose/b.png", "daisy/a.png", "rose/more/c.png", "rose/.hidden.png")
    download.main(root)
    rows = [(row.image, row.label, row.split) for row in artifacts.read_labels(root)]
    assert rows == [("daisy/a.png", "daisy", ""), ("rose/b.png", "rose", ""), ("rose/more/c.png", "rose", "")]


def test_train_and_test_folders_above_the_classes_are_the_split(root: Path) -> None:
    make_folders(root, "Training/rose/a.png", "Training/daisy/b.png", "valid/rose/c.png", "test/rose/d.png")
    download.main(root)
    rows = [(row.image, row.label, row.split) for row in artifacts.read_labels(root)]
    assert rows == [
        ("Training/daisy/b.png", "daisy", "train"),
        ("Training/rose/a.png", "rose", "train"),
        ("test/rose/d.png", "rose", "test"),
        ("valid/rose/c.png", "rose", "val"),
    ]


def test_a_class_may_be_called_test(root: Path) -> None:
    make_folders(root, "test/a.png", "control/b.png")
    download.main(root)
    assert [(row.label, row.split) for row in artifacts.read_labels(root)] == [("control", ""), ("test", "")]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (("Training/a/1.png", "Testing/a/2.png"), [("a", "test"), ("a", "train")]),
        (("train/a/1.png", "dev/a/2.png", "test/a/3.png", "__MACOSX/train/a/._1.png"),
         [("a", "val"), ("a", "test"), ("a", "train")]),
        (("test/1.png", "cat/2.png"), [("cat", ""), ("test", "")]),
        (("crash_test/1.png", "steam_train/2.png"), [("crash_test", ""), ("steam_train", "")]),
    ],
)  # fmt: skip
def test_folders_named_after_splits_are_the_split(
    root: Path, names: tuple[str, ...], rows: list[tuple[str, str]]
) -> None:
    source = make_folders(root, *names)
    (source / "train.dvc").write_text("outs: []")  # as `dvc add` writes it
    download.main(root)
    assert [(row.label, row.split) for row in artifacts.read_labels(root)] == rows


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train/a/1.png", "test/a/2.png", "extra/3.png"), r"extra is beside test and train, which state a split"),
        (
            ("here/a/1.png", "here/b/2.png", "there/a/3.png", "there/b/4.png"),
            r"the 2 folders in .* all hold the same 2 folders; set download's parameters to one of these:\n"
            r"  the classes are 'here' and 'there': source: folder, pattern: \{label\}/\*\*\n"
            r"  the classes are 'a' and 'b': source: folder, pattern: \*/\{label\}/\*\*\n"
            r"  so they are, and 'here' and 'there' are groups: source: folder, pattern: \{group\}/\{label\}/\*\*",
        ),
    ],
)
def test_folders_beside_a_split_are_rejected(root: Path, names: tuple[str, ...], message: str) -> None:
    make_folders(root, *names)
    with pytest.raises(DataError, match=message):
        download.main(root)


def test_an_empty_class_folder_is_rejected(root: Path) -> None:
    source = make_folders(root, "rose/1.png", "daisy/2.png")
    (source / "tulip").mkdir()
    with pytest.raises(DataError, match="the class folder 'tulip' is empty; fill or remove it"):
        download.main(root)


def test_folders_with_other_files_are_rejected(root: Path) -> None:
    source = make_folders(root, "rose/a.png", "b.png")
    with pytest.raises(DataError, match=r"'b\.png' is a file where a folder named after a class is expected; move it"):
        download.main(root)
    set_params(root, download__path="data/nowhere")
    with pytest.raises(DataError, match=r"download\.path = 'data/nowhere' is not a folder"):
        download.main(root)
    (source.parent / "nowhere").mkdir()
    with pytest.raises(DataError, match="holds no images in class folders"):
        download.main(root)


def test_row_order_does_not_matter(root: Path) -> None:
    write_table(root, "image,label\n0.png,a\n1.png,b\n")
    download.main(root)
    first = (root / "data/raw/labels.csv").read_bytes()
    write_table(root, "image,label\n1.png,b\n0.png,a\n")
    download.main(root)
    assert (root / "data/raw/labels.csv").read_bytes() == first


def test_missing_images_are_left_to_preprocess(root: Path) -> None:
    write_table(root, "image,label\n0.png,a\nnot.png,b\n")
    download.main(root)
    row = list(artifacts.read_labels(root))[1]
    assert (row.image, row.size, row.sha256) == ("not.png", "", "")


def test_split_and_group_columns_are_kept(root: Path) -> None:
    write_table(root, "image,label,part,who\n0.png,a,train,x\n1.png,b,test,y\n")
    set_params(root, download__split_column="part", download__group_column="who")
    download.main(root)
    assert [(row.split, row.group) for row in artifacts.read_labels(root)] == [("train", "x"), ("test", "y")]


def test_a_byte_order_mark_is_ignored(root: Path) -> None:
    write_table(root, "image,label\n0.png,a\n1.png,b\n")
    download.main(root)
    first = (root / "data/raw/labels.csv").read_bytes()
    write_table(root, b"\xef\xbb\xbfimage,label\n0.png,a\n1.png,b\n")
    download.main(root)
    assert (root / "data/raw/labels.csv").read_bytes() == first


def test_repeated_rows_are_used_once_and_reported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(root, "image,label\n0.png,a\n1.png,b\n0.png,a\n./0.png,a\n")
    download.main(root)
    assert len(list(artifacts.read_labels(root))) == 2
    assert "2 rows repeat an earlier one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first line must name the columns"),
        ("image,label\n", "has no rows"),
        ("file,label\n0.png,a\n", "the column 'image' of download.image_column is not among ['file', 'label']"),
        ("image,image,label\n0.png,0.png,a\n", "is more than once among"),
        ("image:label\n0.png:a\n", "the column 'image' of download.image_column is not among ['image:label']"),
        ("image,label\n0.png,a,b\n", "line 2: 3 cells under 2 columns; quote cells that hold ','"),
        ("image,label\n0.png\n", "line 2: 1 cells under 2 columns; give the missing ones"),
        ("image,label\n0.png,\n", "line 2: the label of '0.png' is empty"),
        ("image,label\n,a\n", "line 2: the image name is empty"),
        ("image,label\n0.png,a\n0.png,b\n", "line 3: '0.png' is 'b' here and 'a' on line 2"),
        ("image,label\n../0.png,a\n", "is outside the data root"),
        ("image,label\n/etc/passwd,a\n", "is outside the data root"),
        ("image,label\n0.png,a\nhttp://x/0.png,a\n", "line 3: 'http://x/0.png' is an address, unlike the rows before"),
        ("image,label\nhttp://me:pw@x/0.png,a\n", "line 2: the image holds a user name or password"),
        ("image,label\nftp://x/0.png,a\n", "is an address"),
        ('image,label\n"a\nb.png",a\n', "holds a control character"),
        ("image,label\nx\0.png,a\n", "holds a control character"),
        ("image,label\n0.png,café\n".encode("latin-1"), "is not UTF-8 at byte"),
        ("image,label\n0.png,a\n".encode("utf-16"), "is not UTF-8 at byte 0"),
        ('image,label\n0.png,a\n"1.png,a\n2.png,b\n', "line 3: a quote has no end"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_table_is_rejected_with_its_line(root: Path, text: str | bytes, message: str) -> None:
    write_table(root, text)
    with pytest.raises(DataError) as error:
        download.main(root)
    assert message in str(error.value)
    assert not (root / "data/raw").exists()


def test_every_bad_row_is_listed(root: Path) -> None:
    write_table(root, "image,label\n../a,x\n0.png,\n1.png,b\n/b,x\n")
    with pytest.raises(DataError, match="3 mistakes") as error:
        download.main(root)
    assert all(f"line {n}" in str(error.value) for n in (2, 3, 5))


def test_a_missing_table_reports_its_path(root: Path) -> None:
    set_params(root, download__source="csv")
    with pytest.raises(DataError, match=r"data/source/labels\.csv is not a file"):
        download.main(root)


def test_a_link_out_of_the_data_root_is_not_followed(root: Path) -> None:
    write_table(root, "image,label\n0.png,a\nlink.png,b\n")
    (root / "secret.png").write_bytes(b"secret")
    (root / "data/source/link.png").symlink_to(root / "secret.png")
    with pytest.raises(DataError, match="is a link out of the data root"):
        download.main(root)


CELLS = st.sampled_from(["0.png", "1.png", "a", "b", "", "../0.png", "x y"]) | st.text(max_size=5)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A table as a spreadsheet writes it, and now and then a byte that does not belong there."""
    header = draw(st.permutations(["image", "label", "more"]) | st.just(["image", "label"]))
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter=draw(st.sampled_from(",;\t|")), lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    )
    writer.writerow(header)
    writer.writerows(draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=5)))
    data = bytearray(text.getvalue().encode("utf-8", "replace"))
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=300)
@given(data=tables() | st.binary(max_size=200))
def test_random_bytes_give_rows_or_our_error(data: bytes, tmp_path_factory) -> None:
    root = tmp_path_factory.mktemp("csv")
    (root / "source").mkdir()
    (root / "source/labels.csv").write_bytes(data)
    options = load_params(REPOSITORY).download.model_copy(update={"path": "source", "delimiter": None})
    try:
        rows = list(SOURCES["csv"](SourceJob(options, root, root, 1)))
    except DataError as error:
        event(re.sub("[^ a-zA-Z]+.*", "", str(error).partition("labels.csv")[2]) or "names")
        return
    event("rows")
    assert rows
    for row in rows:
        assert row.label
        assert (root / "source" / row.image).resolve().is_relative_to(root / "source")


@pytest.mark.parametrize("layout", [".", "raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_found_without_a_network(root: Path, layout: str, zipped: bool) -> None:
    folder = root / "data/source" / layout
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("t10k", 3)):
        suffix = ".gz" if zipped else ""
        images = random.integers(0, 255, (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images, zipped=zipped)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", np.arange(count), zipped=zipped)
    set_params(root, download__source="FashionMNIST")
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert [row.image for row in rows] == [f"test/0000{n}" for n in range(3)] + [f"train/0000{n}" for n in range(6)]
    assert rows[0].label == "T-shirt/top"
    assert {row.split for row in rows} == {"train", "test"}
    assert np.array_equal(
        np.load(root / "data/raw/images.npy")[3:], np.random.default_rng(0).integers(0, 255, (6, 28, 28))
    )


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
@pytest.mark.parametrize("source", ["CIFAR10", "Flowers102"])
def test_a_failed_download_says_where_to_put_the_files(root: Path, source: str) -> None:
    """The network is blocked in these tests, as it is on many machines."""
    set_params(root, download__source=source)
    request = SourceJob(load_params(root).download, root, root, 1)
    with pytest.raises(DataError, match=rf"{source} could not be loaded .*; put its files under download\.path"):
        list(SOURCES[source](request))


# --- archives ---------------------------------------------------------------------------------------------------------


def test_an_archive_of_class_folders_is_read_as_folders(root: Path) -> None:
    pack(root / "data/source/pets.zip", ["pets/cat/a.png", "pets/dog/b.png"])
    set_params(root, download__source="archive", download__archive="pets.zip")
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert [(row.image, row.label) for row in rows] == [("cat/a.png", "cat"), ("dog/b.png", "dog")]
    assert rows[0].sha256 == artifacts.file_sha256(root / "data/raw/images/cat/a.png")
    assert {path.name for path in (root / "data/raw").iterdir()} == {"labels.csv", "images", "source.json"}
    assert preprocess_images(root).shape == (2, 1, 8, 8)


def preprocess_images(root: Path) -> np.ndarray:
    preprocess.main(root)
    return np.load(root / "data/tensors/images.npy")


def test_an_archive_with_a_table_is_read_as_csv(root: Path, web: Web) -> None:
    packed = pack(root / "p.zip", ["a.png", "b.png"], "image,label\na.png,x\nb.png,y\n")
    web.answers = [answer(packed.read_bytes())]
    sha256 = artifacts.file_sha256(packed)
    set_params(root, download__source="archive", download__archive=f"{web.address}/p.zip", download__sha256=sha256)
    download.main(root)
    assert [(row.image, row.label) for row in artifacts.read_labels(root)] == [("a.png", "x"), ("b.png", "y")]
    assert preprocess_images(root).shape == (2, 1, 8, 8)
    download.main(root)
    assert len(web.requests) == 1


def test_errors_in_an_archive_name_the_archive(root: Path) -> None:
    pack(root / "data/source/pets.zip", ["a.png"], "image,label\n../a.png,x\n")
    set_params(root, download__source="archive", download__archive="pets.zip")
    with pytest.raises(DataError, match=r"^labels\.csv has a mistake:\n  line 2: '\.\./a\.png' is outside"):
        download.main(root)
    pack(root / "data/source/pets.zip", [".hidden.png"])
    with pytest.raises(DataError, match=r"^pets\.zip holds no images in class folders"):
        download.main(root)
    (root / "data/source/pets.zip").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"^pets\.zip is not an archive but a web page"):
        download.main(root)


def test_an_absent_or_changed_local_archive_is_reported(root: Path) -> None:
    set_params(root, download__source="archive", download__archive="pets.zip")
    with pytest.raises(DataError, match=r"data/source/pets\.zip is not a file; put it there"):
        download.main(root)
    found = artifacts.file_sha256(pack(root / "data/source/pets.zip", ["cat/a.png", "dog/b.png"]))
    set_params(root, download__sha256="0" * 64)
    with pytest.raises(DataError, match=f"has sha256 {found} and download.sha256 is 0000"):
        download.main(root)
    assert not list((root / "data").glob("*raw*"))


def test_secrets_in_an_address_are_not_kept(
    root: Path, web: Web, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    web.answers = [answer(pack(root / "p.zip", ["cat/a.png", "dog/b.png"]).read_bytes())]
    monkeypatch.setenv("TOKEN", "canary")
    set_params(root, download__source="archive", download__archive=f"{web.address}/p.zip?token=$TOKEN")
    download.main(root)
    preprocess.main(root)
    assert web.requests[0]["path"].endswith("canary")
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if b"canary" in path.read_bytes() or "canary" in path.name]
    set_params(root, download__archive=f"{web.address}/p.zip?token=canary")
    with pytest.raises(ParamsError, match="looks like a secret") as error:
        download.main(root)
    assert "canary" not in str(error.value) + "".join(capfd.readouterr())
    assert len(web.requests) == 1


# --- csv: which file is meant -----------------------------------------------------------------------------------------


def test_images_may_be_in_several_folders(root: Path) -> None:
    write_table(root, "image,label\na.png,x\nb.png,y\n", images=0)
    for name in ("one/a.png", "two/b.png"):
        path = root / "data/source" / name
        path.parent.mkdir()
        path.write_bytes(name.encode())
    set_params(root, download__images=["one", "two"])
    download.main(root)
    assert [row.image for row in artifacts.read_labels(root)] == ["one/a.png", "two/b.png"]
    (root / "data/source/two/a.png").write_bytes(b"too")
    with pytest.raises(DataError, match=r"line 2: 'a\.png' is both 'one/a\.png' and 'two/a\.png'; name its folder"):
        download.main(root)


@pytest.mark.parametrize(
    "text",
    [
        pd.DataFrame({"image": ["0.png", "1.png"], "label": ["x", "y"]}).to_csv(index=False, quoting=csv.QUOTE_ALL),
        '"","image","label"\n"1","0.png","x"\n"2","1.png","y"\n',
    ],
    ids=["pandas", "write.csv of R"],
)
def test_quoted_headers_are_read(root: Path, text: str) -> None:
    write_table(root, text)
    for delimiter in (",", None):
        set_params(root, download__delimiter=delimiter)
        download.main(root)
        assert [row.label for row in artifacts.read_labels(root)] == ["x", "y"]


@pytest.mark.parametrize("delimiter", list(DELIMITERS))
def test_the_delimiter_is_given_or_detected(root: Path, delimiter: str) -> None:
    write_table(root, f"image{delimiter}label\n0.png{delimiter}x y\n1.png{delimiter}z\n")
    for parameter in (delimiter, None):
        set_params(root, download__delimiter=parameter)
        download.main(root)
        assert [row.label for row in artifacts.read_labels(root)] == ["x y", "z"]
    other = "," if delimiter != "," else ";"
    set_params(root, download__delimiter=other)
    with pytest.raises(DataError) as error:
        download.main(root)
    assert f"separated by {delimiter!r}, and download.delimiter is {other!r}; set that to {delimiter!r}" in str(
        error.value
    )


def test_a_name_in_another_case_is_rejected_with_a_suggestion(root: Path) -> None:
    write_table(root, "image,label\n0.PNG,a\nSUB/x.png,b\n1.png,b\n")
    (root / "data/source/sub").mkdir()
    (root / "data/source/sub/x.png").write_bytes(b"x")
    with pytest.raises(DataError) as error:
        download.main(root)
    assert "line 2: '0.PNG' is missing, and '0.png' is there; write that" in str(error.value)
    assert "line 3: 'SUB' is missing, and 'sub' is there" in str(error.value)


def test_composed_and_decomposed_letters_match(root: Path) -> None:
    write_table(root, "image,label\n\u00e9.png,a\n0.png,b\n")
    decomposed = root / "data/source/e\u0301.png"
    (root / "data/source/1.png").rename(decomposed)
    download.main(root)
    assert [row.image for row in artifacts.read_labels(root)] == ["0.png", "e\u0301.png"]
    write_table(root, "image,label\n\u00e9.png,a\ne\u0301.png,b\n")
    with pytest.raises(DataError, match="is 'b' here and 'a' on line 2; keep one"):
        download.main(root)


@settings(max_examples=300)
@given(
    name=st.lists(
        st.sampled_from(["..", ".", "a", "b", "up", "", "\\", "C:", "~", "e\u0301", "\u00e9"]) | st.text(max_size=3)
    ).map("/".join)
)
def test_names_cannot_leave_the_root(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "names/root"
    if not root.exists():
        (root / "a/b").mkdir(parents=True)
        (root / "a/up").symlink_to("../..")
        (root / "e\u0301").write_bytes(b"x")
    if names.problem(name) is None:
        located, problem = names.Tree(root).locate(name)
        assert problem is not None or (root / located).resolve().is_relative_to(root.resolve())


def test_a_folder_with_escaping_links_or_bad_names_is_rejected(root: Path) -> None:
    source = make_folders(root, "rose/a.png", "daisy/b.png")
    (root / "secret.png").write_bytes(b"secret")
    (source / "rose/link.png").symlink_to(root / "secret.png")
    (source / "rose/more").symlink_to(root)
    (source / "rose/a\\b.png").write_bytes(b"x")
    latin = source / os.fsdecode(b"rose/\xff.d")
    latin.mkdir()
    (latin / "c.png").write_bytes(b"x")
    with pytest.raises(DataError, match="has 4 mistakes") as error:
        download.main(root)
    for part in ("'rose/link.png' is a link out", "'rose/more' is a link out", "backslash", "is not UTF-8"):
        assert part in str(error.value)


def test_files_that_are_not_images_are_left_to_preprocess(root: Path) -> None:
    source = make_folders(root, "rose/a.png", "daisy/b.png")
    (source / "rose/broken.png").symlink_to("nowhere.png")
    (source / "rose/loop.png").symlink_to("loop.png")
    os.mkfifo(source / "rose/pipe.png")
    (source / "rose/notes.txt").write_text("x")
    download.main(root)
    rows = [(row.image, bool(row.sha256)) for row in artifacts.read_labels(root)]
    assert ("rose/broken.png", False) in rows
    assert ("rose/loop.png", False) in rows
    assert ("rose/pipe.png", False) in rows
    assert (root / "data/raw/skipped.csv").read_text() == "file,reason\nrose/notes.txt,not an image\n"
    with pytest.raises(DataError, match="3 of 5 images cannot be used"):
        preprocess.main(root)


def test_an_unreadable_table_does_not_hang(root: Path) -> None:
    set_params(root, download__source="csv")
    table = root / "data/source/labels.csv"
    os.mkfifo(table)
    with pytest.raises(DataError, match=r"labels\.csv is not a file"):
        download.main(root)
    table.unlink()
    table.mkdir()
    with pytest.raises(DataError, match=r"labels\.csv is not a file"):
        download.main(root)


def test_an_endless_line_is_not_read_whole(root: Path) -> None:
    write_table(root, b"image,label\n" + b"x" * (LINE_LIMIT + 1))
    with pytest.raises(DataError, match="line 2: longer than 1048576 bytes"):
        download.main(root)


def test_the_offset_of_an_invalid_byte_counts_from_the_start(root: Path) -> None:
    text = "image,label\n" + "0.png,a\n" * 5000
    write_table(root, text.encode() + b"1.png,\xff\n")
    with pytest.raises(DataError, match=f"is not UTF-8 at byte {len(text) + 6}; save it as UTF-8"):
        download.main(root)


# --- parquet ----------------------------------------------------------------------------------------------------------


def test_parquet_as_hugging_face_ships_it(root: Path) -> None:
    data = root / "data/source/data"
    write_parquet(data / "train-00000-of-00001.parquet", [1, 0, 1, 0, 1], classes=["cat", "dog"])
    write_parquet(data / "test-00000-of-00001.parquet", [0, 1], classes=["cat", "dog"], blue=9)
    set_params(root, download__source="parquet", machine__jobs=1)
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert [(row.image, row.label, row.split) for row in rows[:3]] == [
        ("data/test-00000-of-00001.parquet/00000000", "cat", "test"),
        ("data/test-00000-of-00001.parquet/00000001", "dog", "test"),
        ("data/train-00000-of-00001.parquet/00000000", "dog", "train"),
    ]
    assert [row.image for row in rows] == sorted(row.image for row in rows)
    set_params(root, preprocess__channels=3)
    assert preprocess_images(root)[:, 0, 0, 0].tolist() == [0, 20, 0, 20, 40, 60, 80]


def test_parquet_of_plain_bytes_with_custom_columns(root: Path) -> None:
    path = root / "data/source/photos.parquet"
    write_parquet(path, ["01", "NA"], part=["train", "test"], who=[7, 8])
    table = pq.read_table(path)
    pq.write_table(table.append_column("photo", table["image"].combine_chunks().field("bytes")), path)
    set_params(root, download__source="parquet", download__image_column="photo", machine__jobs=1)
    set_params(root, download__split_column="part", download__group_column="who")
    download.main(root)
    rows = [(row.label, row.split, row.group) for row in artifacts.read_labels(root)]
    assert rows == [("01", "train", "7"), ("NA", "test", "8")]
    assert preprocess_images(root).shape == (2, 1, 8, 8)


def test_parquet_changed_or_deleted_after_download_is_rejected(root: Path) -> None:
    path = root / "data/source/photos.parquet"
    write_parquet(path, ["a", "b", "a"])
    set_params(root, download__source="parquet", machine__jobs=1)
    download.main(root)
    write_parquet(path, ["a", "b", "a", "b"])
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match=r"3 of 3 images cannot be used .*\(changed since `download` listed it\)"):
        preprocess.main(root)
    path.unlink()
    with pytest.raises(DataError, match=r"3 of 3 images cannot be used .*00000000' \(missing\)"):
        preprocess.main(root)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, -1], ["cat", "dog"], "the label of 'photos.parquet, row 1' is empty"),
        ([1.0, float("nan")], None, "the label of 'photos.parquet, row 1' is empty"),
        ([b"cat", b"\xff"], None, "the column 'label' holds bytes that are not UTF-8"),
        ([[0], [0, 1]], None, "the column 'label' holds list.*, and single values are expected"),
    ],
)
def test_parquet_cells_that_are_not_labels_are_rejected(
    root: Path, labels: list[object], classes: list[str] | None, message: str
) -> None:
    write_parquet(root / "data/source/photos.parquet", labels, classes=classes)
    set_params(root, download__source="parquet")
    with pytest.raises(DataError, match=message):
        download.main(root)


def test_parquet_labels_may_be_bytes_and_folders_state_the_split(root: Path) -> None:
    write_parquet(root / "data/source/train/0000.parquet", [b"cat", b"dog"])
    write_parquet(root / "data/source/validation/0000.parquet", [b"cat", b"dog"], blue=9)
    set_params(root, download__source="parquet")
    download.main(root)
    rows = [(row.label, row.split) for row in artifacts.read_labels(root)]
    assert rows == [("cat", "train"), ("dog", "train"), ("cat", "val"), ("dog", "val")]


def test_bad_parquet_is_rejected(root: Path) -> None:
    path = root / "data/source/photos.parquet"
    set_params(root, download__source="parquet")
    with pytest.raises(DataError, match=r"holds no \.parquet files"):
        download.main(root)
    path.write_bytes(b"PAR1 is not enough")
    with pytest.raises(DataError, match=r"photos\.parquet is not a Parquet file"):
        download.main(root)
    write_parquet(path, ["a", None, "  "])
    with pytest.raises(DataError, match=r"has 2 mistakes:\n  the label of 'photos\.parquet, row 1' is empty"):
        download.main(root)
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "a.png"}], "label": ["a"]}), path)
    with pytest.raises(DataError, match=r"photos\.parquet, row 0: no image in the column 'image', or only the name"):
        download.main(root)
    pq.write_table(pa.table({"image": ["a.png"], "label": ["a"]}), path)
    with pytest.raises(DataError, match="the column 'image' holds string, and images are expected as bytes"):
        download.main(root)
    pq.write_table(pa.table({"img": ["a.png"], "label": ["a"]}), path)
    with pytest.raises(DataError, match=r"has no column 'image'; did you mean 'img'\?"):
        download.main(root)


@settings(max_examples=100)
@given(flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_damaged_parquet_gives_rows_or_our_error(flips: list[tuple[float, int]], tmp_path_factory) -> None:
    root = tmp_path_factory.mktemp("parquet")
    write_parquet(root / "photos.parquet", ["a", "b"] * 4)
    data = bytearray((root / "photos.parquet").read_bytes())
    for where, value in flips:
        data[int(where * (len(data) - 1))] ^= value
    (root / "photos.parquet").write_bytes(data)
    options = load_params(REPOSITORY).download.model_copy(update={"path": "."})
    try:
        list(SOURCES["parquet"](SourceJob(options, root, root, 1)))
    except DataError:
        return


# --- torchvision's sets of photographs --------------------------------------------------------------------------------


def make_pets(folder: Path) -> None:
    """A small Oxford-IIIT Pet as torchvision lays it out."""
    base = folder / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    (base / "images").mkdir()
    for part, count in (("trainval", 4), ("test", 2)):
        lines = []
        for number in range(count):
            breed, code = (("Abyssinian", 1), ("american_bulldog", 2))[number % 2]
            name = f"{breed}_{part}{number}"
            Image.new("RGB", (9, 9), (40 * number, count, 0)).save(base / "images" / f"{name}.jpg")
            lines.append(f"{name} {code} {code} 1")
        (base / f"annotations/{part}.txt").write_text("\n".join(lines) + "\n")


def test_local_photographs_are_used_in_place(root: Path) -> None:
    make_pets(root / "data/source")
    set_params(root, download__source="OxfordIIITPet", machine__jobs=1)
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert [row.image for row in rows] == sorted(row.image for row in rows)
    assert (rows[0].image, rows[0].label, rows[0].split) == (
        "oxford-iiit-pet/images/Abyssinian_test0.jpg",
        "Abyssinian",
        "test",
    )
    assert [row.split for row in rows].count("train") == 4
    assert not (root / "data/raw/images").exists()
    assert preprocess_images(root).shape == (6, 1, 8, 8)


def test_downloaded_photographs_are_an_output_of_the_stage(root: Path) -> None:
    """As if torchvision had downloaded it in an earlier try."""
    make_pets(root / ".imagetrail/downloads")
    set_params(root, download__source="OxfordIIITPet", machine__jobs=1)
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert len(rows) == 6
    for row in rows:
        assert artifacts.file_sha256(root / "data/raw/images" / row.image) == row.sha256
    assert preprocess_images(root).shape == (6, 1, 8, 8)


def test_parquet_is_read_once_in_constant_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60,000 images of one row group took 45 s: each worker read the whole group, again and again."""
    source = root / "data/source"
    noise = np.random.default_rng(0).bytes(4_000)
    cells = [noise[:-1] + bytes([number % 256]) for number in range(9000)]
    table = pa.table({"image": pa.array(cells, pa.binary()), "label": ["a", "b", "c"] * 3000})
    pq.write_table(table, source / "train.parquet", row_group_size=9000, use_dictionary=False)
    del table, cells
    set_params(root, download__source="parquet")
    download.main(root)
    opened = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda *args, **options: opened.append(args) or real(*args, **options))
    before = peak = pa.total_allocated_bytes()
    for row, payload in open_reader(root, artifacts.read_source(root), "data/source")(artifacts.read_labels(root)):
        assert isinstance(payload, bytes)
        assert payload[-1] == int(row.image[-8:]) % 256
        peak = max(peak, pa.total_allocated_bytes())
    assert len(opened) == 1
    assert peak - before < 2**24, "of 36 MB"
