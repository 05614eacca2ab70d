"""Parquet files of images, as Hugging Face ships them: a column of encoded images, a column of labels."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from imagetrail.errors import DataError, nearest

ROW_BATCH = 64
"""Rows read at a time."""


class Row(NamedTuple):
    """A row of a file."""

    image: bytes | None
    """The encoded image; None if the cell is empty or names an external file."""
    others: list[str | None]
    """The other columns as text; None if a cell is empty."""


def rows(path: Path, image_column: str, other_columns: list[str]) -> Iterator[Row]:
    """Yield the rows of a file.

    A numeric column yields class names if the file's metadata has them (ClassLabel of Hugging Face).

    Raises:
        DataError: it is not a Parquet file, lacks a column, or a column has an unsupported type.
    """
    with _opened(path) as file:
        schema = file.schema_arrow
        for column in [image_column, *other_columns]:
            if column not in schema.names:
                raise DataError(f"{path} has no column {column!r}; {nearest(column, schema.names)}")
        classes = {column: _classes(schema, column) for column in other_columns}
        for batch in file.iter_batches(ROW_BATCH, columns=[image_column, *other_columns]):
            others = [_texts(batch.column(column), classes[column], path, column) for column in other_columns]
            images = _encoded(batch.column(image_column), path, image_column).to_pylist()
            for image, *values in zip(images, *others, strict=True):
                yield Row(image, values)


def columns(path: Path) -> dict[str, Literal["image", "value", "other"]]:
    """Return what the columns of a file may hold: encoded images, values such as labels, or neither.

    Raises:
        DataError: it is not a Parquet file.
    """
    found: dict[str, Literal["image", "value", "other"]] = {}
    with _opened(path) as file:
        for column in file.schema_arrow:
            is_struct = pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0
            if is_struct or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
                found[column.name] = "image"
            else:
                found[column.name] = "other" if pa.types.is_nested(column.type) else "value"
    return found


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a Parquet file, or damaged ({_first_line(error)}); write it again.") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _encoded(column: pa.Array, path: Path, name: str) -> pa.Array:
    """Return the bytes of a column that is binary, or a struct of `bytes` and `path`."""
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = column.field("bytes")
    if pa.types.is_null(column.type):  # every cell of the file is empty
        column = column.cast(pa.binary())
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise DataError(
            f"{path}: the column {name!r} holds {column.type}, and images are expected as bytes, or as a struct with a "
            "field `bytes`; set download.image_column."
        )
    return column


def _classes(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the class names that Hugging Face writes into the metadata, if any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _texts(column: pa.Array, classes: list[str] | None, path: Path, name: str) -> list[str | None]:
    """Return values as text; None for empty cells, for not-a-number, and for -1 among classes, which means no label."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return [None if value is None else value.decode("utf-8") for value in column.to_pylist()]
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: the column {name!r} holds bytes that are not UTF-8 ({error.reason}).") from None
    if pa.types.is_nested(kind):
        raise DataError(f"{path}: the column {name!r} holds {kind}, and single values are expected; flatten it.")
    values = [None if value is None or value != value else value for value in column.to_pylist()]
    if classes is None or not pa.types.is_integer(kind):
        return [None if value is None else str(value) for value in values]
    return [classes[value] if value is not None and 0 <= value < len(classes) else None for value in values]
