"""Data sets in the forms in which people have them: files, the options that read them, and the rows to be read."""

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Rows = list[tuple[str, str, str, str]]


def write(root: Path, files: dict[str, str | None]) -> Path:
    """Fill data/source: text files, and a different small image for each None."""
    source = root / "data/source"
    for number, (name, text) in enumerate(files.items()):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            pixels = np.random.default_rng(number).integers(0, 255, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        else:
            path.write_text(text)
    return source


IMAGES: dict[str, str | None] = {"img/1.png": None, "img/2.png": None}
TABLES: dict[str, tuple[dict[str, str | None], dict[str, object], Rows]] = {
    "no header": (
        {**IMAGES, "labels.csv": "img/1.png,cat\nimg/2.png,dog\n"},
        {"header": False, "image_column": 1, "label_column": 2},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "quoted header, semicolons, another column": (
        {**IMAGES, "labels.csv": '"file";"note";"kind"\n"img/1.png";"a;b";"cat"\n"img/2.png";"";"dog"\n'},
        {"delimiter": ";", "image_column": "file", "label_column": "kind"},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "tabs and spaces": (
        {**IMAGES, "labels.csv": "image\tlabel\nimg/1.png\t cat\nimg/2.png\tdog \n"},
        {"delimiter": None},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "ids without suffix, in a folder": (
        {**IMAGES, "labels.csv": "id, breed\n1, cat\n2, dog\n"},
        {"image_column": "id", "label_column": "breed", "extension": "png", "images": "img"},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "a column for each class": (
        {**IMAGES, "labels.csv": "image,cat,dog\nimg/1.png,1.0,0.0\nimg/2.png,0,1\n"},
        {"label_column": ["cat", "dog"]},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "train.csv and test.csv": (
        {
            **IMAGES,
            "train.csv": "image,label\nimg/1.png,cat\n",
            "test.csv": "image,label\nimg/2.png,cat\n",
        },
        {"table": ["train.csv", "test.csv"]},
        [("img/1.png", "cat", "train", ""), ("img/2.png", "cat", "test", "")],
    ),
    "a table in each folder, with tracks in the names": (
        {
            "train/0/3_1.png": None,
            "train/0/3_2.png": None,
            "train/1/4_1.png": None,
            "train/0/GT-0.csv": "Filename;ClassId\n3_1.png;0\n3_2.png;0\n",
            "train/1/GT-1.csv": "Filename;ClassId\n4_1.png;1\n",
        },
        {
            "table": "train/*/GT-*.csv",
            "delimiter": ";",
            "image_column": "Filename",
            "label_column": "ClassId",
            "pattern": "**/{group}_*.{ext}",
        },
        [("train/0/3_1.png", "0", "train", "3"), ("train/0/3_2.png", "0", "train", "3"),
         ("train/1/4_1.png", "1", "train", "4")],
    ),
    "Windows paths": (
        {**IMAGES, "labels.csv": "image,label\nimg\\1.png,cat\n.\\img\\2.png,dog\n"},
        {},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "absolute paths of another machine": (
        {**IMAGES, "labels.csv": "image,label\nC:\\data\\pets\\img\\1.png,cat\nC:\\data\\pets\\img\\2.png,dog\n"},
        {},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "the folder's own name before the names": (
        {**IMAGES, "labels.csv": "image,label\nsource/img/1.png,cat\nimg/2.png,dog\n"},
        {},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "codes and a table of class names": (
        {**IMAGES, "labels.csv": "image,label\nimg/1.png,7\nimg/2.png,9\n", "names.csv": "code,name\n7,cat\n9,dog\n"},
        {"classes": "names.csv"},
        [("img/1.png", "cat", "", ""), ("img/2.png", "dog", "", "")],
    ),
    "labels that differ in case and spaces": (
        {**IMAGES, "labels.csv": "image,label\nimg/1.png,Big  Cat\nimg/2.png,big cat\n"},
        {"fold_labels": True},
        [("img/1.png", "big cat", "", ""), ("img/2.png", "big cat", "", "")],
    ),
}  # fmt: skip

FOLDERS: dict[str, tuple[list[str], dict[str, object], Rows]] = {
    "words for splits": (
        ["Training_Data/cat/1.png", "VAL/cat/2.png", "Eval/cat/3.png"],
        {},
        [("Eval/cat/3.png", "cat", "test", ""), ("Training_Data/cat/1.png", "cat", "train", ""),
         ("VAL/cat/2.png", "cat", "val", "")],
    ),
    "a name before the split, twice": (
        ["seg_train/seg_train/sea/1.png", "seg_train/seg_train/ice/2.png", "seg_test/seg_test/sea/3.png",
         "seg_test/seg_test/ice/4.png"],
        {},
        [("seg_test/seg_test/ice/4.png", "ice", "test", ""), ("seg_test/seg_test/sea/3.png", "sea", "test", ""),
         ("seg_train/seg_train/ice/2.png", "ice", "train", ""), ("seg_train/seg_train/sea/1.png", "sea", "train", "")],
    ),
    "a wrapper": (
        ["pets-main/images/cat/1.png", "pets-main/images/dog/2.png"],
        {},
        [("pets-main/images/cat/1.png", "cat", "", ""), ("pets-main/images/dog/2.png", "dog", "", "")],
    ),
    "a wrapper around a split": (
        ["chest/train/a/1.png", "chest/train/b/2.png", "chest/test/a/3.png", "chest/test/b/4.png"],
        {},
        [("chest/test/a/3.png", "a", "test", ""), ("chest/test/b/4.png", "b", "test", ""),
         ("chest/train/a/1.png", "a", "train", ""), ("chest/train/b/2.png", "b", "train", "")],
    ),
    "labels in names": (
        ["cat.0.png", "cat.1.png", "dog.0.png"],
        {"pattern": "{label}.*.{ext}"},
        [("cat.0.png", "cat", "", ""), ("cat.1.png", "cat", "", ""), ("dog.0.png", "dog", "", "")],
    ),
    "tracks in names": (
        ["00000/00003_00029.png", "00000/00003_00030.png", "00001/00001_00000.png"],
        {"pattern": "{label}/{group}_*.{ext}"},
        [("00000/00003_00029.png", "00000", "", "00003"), ("00000/00003_00030.png", "00000", "", "00003"),
         ("00001/00001_00000.png", "00001", "", "00001")],
    ),
    "patients above the classes": (
        ["training/p1/sick/1.png", "training/p2/well/2.png", "test/p3/sick/3.png"],
        {"pattern": "{split}/{group}/{label}/**"},
        [("test/p3/sick/3.png", "sick", "test", "p3"), ("training/p1/sick/1.png", "sick", "train", "p1"),
         ("training/p2/well/2.png", "well", "train", "p2")],
    ),
}  # fmt: skip


def write_idx(path: Path, values: np.ndarray, *, zipped: bool) -> None:
    """MNIST's format: http://yann.lecun.com/exdb/mnist/."""
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    data = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


def pack(path: Path, names: list[str], table: str | None = None) -> Path:
    """A zip of different small images, with a table beside them or without."""
    with zipfile.ZipFile(path, "w") as opened:
        for number, name in enumerate(names):
            image = io.BytesIO()
            Image.new("RGB", (9, 9), (number * 20, 0, 0)).save(image, "PNG")
            opened.writestr(name, image.getvalue())
        if table is not None:
            opened.writestr("labels.csv", table)
    return path


def write_parquet(
    path: Path, labels: list[object], *, classes: list[str] | None = None, blue: int = 0, **columns: object
) -> None:
    """Different small images and their labels, as Hugging Face's `datasets` writes them."""
    images = []
    for number in range(len(labels)):
        image = io.BytesIO()
        Image.new("RGB", (9, 9), (number * 20, 0, blue)).save(image, "PNG")
        images.append({"bytes": image.getvalue(), "path": None})
    table = pa.table({"image": images, "label": labels, **columns})
    if classes is not None:
        features = {"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=3)
