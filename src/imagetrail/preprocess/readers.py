"""Find the pixels of the rows that `download` listed: image files, cells of Parquet files, or rows of one array.

A reader runs in the main process and gives each row a payload; workers turn payloads into pixels. So a Parquet file is
read once, from start to end, regardless of the number of workers.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from imagetrail.errors import DataError
from imagetrail.files import artifacts
from imagetrail.files.arrays import Pixels, open_array
from imagetrail.files.artifacts import LabelRow, Source
from imagetrail.files.form import Form
from imagetrail.preprocess import decode
from imagetrail.preprocess.decode import Decoded


@dataclass(frozen=True)
class Unreadable:
    """The payload of a row without bytes."""

    reason: str


Payload = Path | bytes | Pixels | Unreadable
"""An image file, its bytes, or decoded pixels: uint8 [H,W] or [H,W,3]."""
Reader = Callable[[Iterable[LabelRow]], Iterator[tuple[LabelRow, Payload]]]
"""Yields each row with its payload, in order."""


def open_reader(root: Path, source: Source, path: str) -> Reader:
    """Find the pixels where `download` left them.

    Args:
        root: the repository's root.
        source: how `download` read the data.
        path: download.path, where the names of local images start.
    """
    root = root.resolve()  # a worker may have another working folder
    array, fetched = root / artifacts.RAW / "images.npy", root / artifacts.RAW / "images"
    if array.is_file():
        return lambda rows: _array_rows(array, rows)
    if (column := source.image_column) is not None:
        return lambda rows: _cells(root / path, column, rows)
    folder = fetched if fetched.is_dir() else root / path
    return lambda rows: ((row, folder / row.image) for row in rows)


def _array_rows(path: Path, rows: Iterable[LabelRow]) -> Iterator[tuple[LabelRow, Payload]]:
    array = open_array(path, "download", np.uint8, None)
    with artifacts.reading(path, "download"):
        for row, pixels in zip(rows, array, strict=True):
            yield row, np.array(pixels)


def _cells(folder: Path, column: str, rows: Iterable[LabelRow]) -> Iterator[tuple[LabelRow, Payload]]:
    """Yield cells by the names that `download` gave them: file, then row number, as in train.parquet/00000012."""
    from imagetrail import parquet_file  # pyarrow is imported only if needed

    for name, members in groupby(rows, key=lambda row: row.image.rpartition("/")[0]):
        file = folder / name
        cells = enumerate(row.image for row in parquet_file.rows(file, column, []))
        absent = Unreadable("the file no longer has this cell")
        for row in members:
            wanted = int(row.image.rpartition("/")[2])
            try:
                found = next((cell for number, cell in cells if number == wanted), None)
            except DataError as error:  # and the generator has ended, so the rest of the file is absent too
                absent = Unreadable(str(error).replace(f"{folder}/", "") if file.is_file() else "missing")
                found = None
            yield row, absent if found is None else found


def pixels(row: LabelRow, payload: Payload, form: Form, expected: tuple[int, int] | None) -> Decoded:
    """Turn a payload into pixels, in the workers.

    Args:
        row: of labels.csv.
        payload: of the row.
        form: to convert the image to.
        expected: (height, width) that the upright image must have; None accepts any.

    Raises:
        DataError: the image cannot be used; the reason in a few words.
    """
    if isinstance(payload, np.ndarray):
        decode.check_size(payload.shape[:2], expected)
        return Decoded(decode.resize(Image.fromarray(payload), form), payload.shape[:2], "", 1)
    data = encoded(payload)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise DataError("changed since `download` listed it")
    return decode.decode(data, form, expected)


def size(payload: Payload) -> tuple[int, int]:
    """Return (height, width) in pixels of the upright image, or raise DataError with the reason."""
    if isinstance(payload, np.ndarray):
        height, width, *_ = payload.shape
        return height, width
    with decode.opened(encoded(payload)) as image:
        return decode.upright_size(image)


def encoded(payload: Path | bytes | Unreadable) -> bytes:
    """Return the bytes of an image file, or raise DataError with the reason."""
    match payload:
        case Unreadable(reason):
            raise DataError(reason)
        case Path():
            return decode.read(payload)
        case _:
            return payload
