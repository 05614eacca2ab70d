"""Where `preprocess` finds the pixels of a row: a file, a row of an array, a cell of a Parquet file."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from imagetrail import artifacts, images
from imagetrail.artifacts import LabelRow
from imagetrail.errors import DataError
from imagetrail.images import Decoded, Form


class Reader(Protocol):
    """Reads the pixels of a row; workers receive a copy of it."""

    def __call__(self, index: int, row: LabelRow, form: Form) -> Decoded:
        """The row's image, or DataError with the reason."""

    def size(self, index: int, row: LabelRow) -> tuple[int, int]:
        """(height, width) of the row's image as it is, or DataError with the reason."""


@dataclass(frozen=True)
class EncodedReader:
    """Image files, wherever their bytes lie."""

    read: Callable[[str], bytes]
    """The bytes of an image by its name; Files or Cells."""
    expected: tuple[int, int] | None = None
    """(height, width) that every image must have; None takes any."""

    def __call__(self, index: int, row: LabelRow, form: Form) -> Decoded:
        """Decode the image, after checking that it is the one that `download` listed."""
        data = self.read(row.image)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise DataError("changed since `download` listed it")
        return images.decode(data, form, self.expected)

    def size(self, index: int, row: LabelRow) -> tuple[int, int]:
        """(height, width) of the upright image."""
        with images.opened(self.read(row.image)) as image:
            return images.upright_size(image)


@dataclass(frozen=True)
class Files:
    """Files below a folder."""

    folder: Path

    def __call__(self, name: str) -> bytes:
        """The bytes of a file."""
        return images.read(self.folder / name)


@dataclass(frozen=True)
class Cells:
    """Cells of Parquet files below a folder, named by file and row: train.parquet/00000012."""

    folder: Path
    column: str

    def __call__(self, name: str) -> bytes:
        """The bytes of a cell."""
        from imagetrail import parquet  # pyarrow is for those who need it

        file, _, number = name.rpartition("/")
        return parquet.cell(self.folder / file, self.column, int(number))


@dataclass(frozen=True)
class ArrayReader:
    """Rows of one .npy file: uint8 [N,H,W] or [N,H,W,3]."""

    path: Path

    def __call__(self, index: int, row: LabelRow, form: Form) -> Decoded:
        """Resize and convert a row of the array."""
        pixels = np.load(self.path, mmap_mode="r")[index]
        return Decoded(images.resize(Image.fromarray(pixels), form), pixels.shape[:2], "", 1)

    def size(self, index: int, row: LabelRow) -> tuple[int, int]:
        """(height, width) of every row."""
        _, height, width, *_ = np.load(self.path, mmap_mode="r").shape
        return height, width


def open_reader(root: Path, source: str, path: str, image_column: str) -> Reader:
    """The pixels where `download` left them, by absolute paths: an array, fetched files, or the user's own folder.

    Args:
        root: the repository's root.
        source: download.source.
        path: download.path, where the names of local images start.
        image_column: download.image_column.
    """
    root = root.resolve()  # a worker may have another working folder
    if (root / artifacts.RAW / "images.npy").is_file():
        return ArrayReader(root / artifacts.RAW / "images.npy")
    if source == "parquet":
        return EncodedReader(Cells(root / path, image_column))
    fetched = root / artifacts.RAW / "images"
    return EncodedReader(Files(fetched if fetched.is_dir() else root / path))
