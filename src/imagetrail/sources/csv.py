"""`csv`: a table of image names and labels beside a folder of images, which stay where they are."""

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from imagetrail.artifacts import LabelRow
from imagetrail.console import warn
from imagetrail.errors import DataError, nearest
from imagetrail.params import Download
from imagetrail.sources.files import Entry, identify
from imagetrail.sources.request import Request

SHOWN = 20
"""Mistakes listed in a message; the rest is counted."""


class Line(NamedTuple):
    """A line of the user's table."""

    number: int
    image: str
    label: str
    split: str
    group: str


def load(request: Request) -> list[LabelRow]:
    """Read the table, check every row, and take the size and sha256 of every image.

    A missing image is no mistake of the table; `preprocess` rejects it.

    Raises:
        DataError: the table is missing, is no CSV, lacks a column or has bad rows: all of them in one message.
    """
    options = request.options
    table = request.local / options.table
    lines = list(read_table(table, options))
    images = request.local / options.images
    return identify(images, [Entry(*line[1:]) for line in _check(table, images, lines)], request.jobs)


def read_table(table: Path, options: Download) -> Iterator[Line]:
    """The rows of the table as text: labels `01`, `NA` and `1.0` stay what they are.

    Raises:
        DataError: no file, not UTF-8, no rows, a missing column, or a row with too few or too many cells.
    """
    if not table.is_file():
        raise DataError(f"download.table: {table} is not a file; put the table there or set download.path and .table.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            columns = [_column(table, header, name, key) for key, name in _wanted(options)]
            count = 0
            for cells in lines:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{table}, line {lines.line_num}: {len(cells)} cells under {len(header)} columns; "
                        "quote cells that hold a comma."
                    )
                count += 1
                image, *others = ("" if c is None else cells[c].strip() for c in columns)
                yield Line(lines.line_num, image + (options.extension or "" if image else ""), *others)
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 at byte {error.start}; save it as UTF-8.") from None
    except csv.Error as error:
        raise DataError(f"{table} is not a CSV table ({error}); save it as comma-separated text.") from None
    if count == 0:
        raise DataError(f"{table} has no rows; list one image a line under the header.")


def _wanted(options: Download) -> list[tuple[str, str | None]]:
    return [
        ("image_column", options.image_column),
        ("label_column", options.label_column),
        ("split_column", options.split_column),
        ("group_column", options.group_column),
    ]


def _column(table: Path, header: list[str], name: str | None, key: str) -> int | None:
    if name is None:
        return None
    if not header:
        raise DataError(f"{table} is empty; its first line must name the columns.")
    if header.count(name) != 1:
        found = "more than once" if name in header else "not"
        raise DataError(
            f"{table}: the column {name!r} of download.{key} is {found} among {header!r}; {nearest(name, set(header))}"
        )
    return header.index(name)


def _check(table: Path, images: Path, lines: list[Line]) -> list[Line]:
    """Each image once; every mistake of every row in one DataError."""
    problems: list[str] = []
    first: dict[str, Line] = {}
    repeated = 0
    base = images.resolve()
    for line in lines:
        name = str(PurePosixPath(line.image))
        if problem := _problem(base, line):
            problems.append(f"line {line.number}: {problem}")
        elif (earlier := first.setdefault(name, line._replace(image=name))) is not line:
            if earlier[2:] != line[2:]:
                problems.append(
                    f"line {line.number}: {line.image!r} is {line.label!r} here and {earlier.label!r} "
                    f"on line {earlier.number}; keep one"
                )
            elif earlier.number != line.number:
                repeated += 1
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(f"{table} has {len(problems)} bad rows:\n  " + "\n  ".join(problems[:SHOWN]) + more)
    if repeated:
        warn(f"{table}: {repeated} rows repeat an earlier one and are used once.")
    return list(first.values())


def _problem(base: Path, line: Line) -> str | None:
    """Why a row cannot be used, from the row alone; no file outside `base` is opened."""
    name = line.image
    if not name:
        return "the image name is empty; give one"
    if not line.label:
        return f"the label of {name!r} is empty; give one"
    if any(ord(character) < 32 for character in name):
        return f"the image name {name!r} holds a control character; rename the file"
    if "://" in name or name.startswith("file:"):
        return f"{name!r} is an address; download the image and give its file name"
    if "\\" in name:
        return f"{name!r} has a backslash; write {name.replace(chr(92), '/')!r}"
    if line.split not in ("", "train", "val", "test"):
        return f"the split of {name!r} is {line.split!r}; it must be train, val, test or empty"
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return f"{name!r} lies outside the data root {base.name!r}; copy it in or set download.images"
    try:
        inside = (base / name).resolve().is_relative_to(base)
    except (OSError, RuntimeError):
        inside = True  # a loop of links: `preprocess` rejects it as unreadable
    if not inside:
        return f"{name!r} is a link out of the data root {base.name!r}; copy the image in"
    return None
