"""Find the images that a command names, one after the other, so that memory does not grow with them."""

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from itertools import repeat
from pathlib import Path
from typing import cast

from imagetrail.download import kinds, names, table
from imagetrail.errors import DataError, natural_key
from imagetrail.params.download import Download

STANDARD_INPUT = "-"
INPUT_BLOCK = 2**16
"""Bytes of standard input that are read at once."""
TABLE_SUFFIXES = (".csv", ".tsv")


def images(
    given: Iterable[str], options: Download, column: str | None, tell: Callable[[str], object]
) -> Iterator[Path]:
    """Yield the images that each of some texts means.

    Args:
        given: files; folders, for all images below them in the order in which people count; patterns such as
            `*/cat*.jpg`; tables (.csv, .tsv) with a column of names, which start from the table's folder; `-` for
            names on standard input, one a line, or separated by zero bytes.
        options: section `download`, for the tables.
        column: of the tables; None takes download.image_column.
        tell: gets a sentence for each folder that holds no images, or other files too.

    Raises:
        DataError: a pattern fits no file, or a table cannot be read.
    """
    for text in given:
        path = Path(text)
        if text == STANDARD_INPUT:
            yield from map(Path, _lines())
        elif path.is_dir():
            yield from _below(path, tell)
        elif glob.has_magic(text) and not path.exists():
            yield from images(_fitting(text), options, column, tell)
        elif path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
            yield from _listed(path, options, column)
        else:
            yield path


def _lines() -> Iterator[str]:
    """Yield the names on standard input; `find -print0` separates them by zero bytes."""
    stream = cast(BufferedReader, sys.stdin.buffer)
    block = stream.read1(INPUT_BLOCK)
    end, rest = b"\0" if b"\0" in block else b"\n", b""
    while block:
        *names, rest = (rest + block).split(end)
        yield from (os.fsdecode(name) for name in map(bytes.rstrip, names, repeat(b"\r")) if name)
        block = stream.read1(INPUT_BLOCK)
    if rest:
        yield os.fsdecode(rest)


def _below(folder: Path, tell: Callable[[str], object]) -> Iterator[Path]:
    found = others = 0
    for path in _walk(folder):
        if kinds.is_image(path):
            found += 1
            yield path
        else:
            others += 1
    if not found:
        tell(f"{folder} holds no images.")
    elif others:
        tell(f"{folder} holds {others} files that are not images.")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; only one folder's names are held at a time, and those of its parents."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror}); unlock it.") from None
    for entry in entries:
        if names.is_hidden(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif not entry.is_dir():
            yield Path(entry.path)


def _listed(path: Path, options: Download, column: str | None) -> Iterator[Path]:
    image_column = options.image_column if column is None else column
    names_only = {"image_column": image_column, "label_column": image_column, "split_column": None,
                  "group_column": None, "columns": None}  # fmt: skip
    for line in table.read_table(path, options.model_copy(update=names_only)):
        yield path.parent / line.image


def _fitting(pattern: str) -> list[str]:
    found = sorted(glob.glob(pattern, recursive=True), key=natural_key)  # noqa: PTH207  # that of the text as typed
    if not found:
        raise DataError(f"no file fits the pattern {pattern!r}; correct it.")
    return found
