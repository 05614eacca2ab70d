"""`csv`: a table of image names and labels, and folders of images, which are used in place."""

import csv
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from imagetrail.console import warn
from imagetrail.download import labels, names
from imagetrail.download.job import SourceJob
from imagetrail.download.listing import ListedImage, Listing, Problems
from imagetrail.errors import DataError, nearest
from imagetrail.files.artifacts import LabelRow
from imagetrail.params.download import DELIMITERS, Download

LINE_LIMIT = 2**20
"""Bytes of a line; csv's own limit of a cell is 131,072 characters."""


class Cells(csv.excel):
    """Quotes may follow a space after the delimiter; anything else that csv finds odd is an error."""

    strict = True
    skipinitialspace = True


class Line(NamedTuple):
    """A line of the user's table."""

    number: int
    image: str
    label: str
    split: str
    group: str


def load(job: SourceJob) -> Iterator[LabelRow]:
    """Read the table, check every row, and take the size and sha256 of every image.

    A missing image does not count as a mistake of the table; `preprocess` rejects it.

    Raises:
        DataError: the table is missing, is not a CSV, lacks a column or has bad rows: all of them in one message.
    """
    options = job.options
    table = job.local / options.table
    tree = names.Tree(job.local)
    problems = Problems(table)
    with Listing(problems) as listing:
        for line in read_table(table, options):
            name, problem = line.image, _problem(line)
            if problem is None:
                name, problem = _find(tree, options.image_folders, line.image)
            if problem is None:
                split = labels.split_of(line.split) or ""
                listing.add(ListedImage(name, labels.label_of(line.label), split, line.group, line.number))
            else:
                problems.add(f"line {line.number}: {problem}")
        problems.check()
        if listing.repeated:
            warn(f"{table}: {listing.repeated} rows repeat an earlier one and are used once.")
        yield from listing.identify(job.local, job.jobs)


def _problem(line: Line) -> str | None:
    """Explain why a row cannot be used, judging by the row only."""
    return names.problem(line.image) or labels.problem(line.image, line.label, line.split)


def _find(tree: names.Tree, folders: Sequence[str], image: str) -> tuple[str, str | None]:
    """Find the only folder that holds the image; the first folder if none does."""
    candidates = [tree.locate(posixpath.join(folder, image)) for folder in folders]
    if len(candidates) == 1:
        return candidates[0]
    present = [found for found in candidates if found[1] is None and (tree.root / found[0]).exists()]
    if len(present) > 1:
        return image, f"{image!r} is both {present[0][0]!r} and {present[1][0]!r}; name its folder in the table"
    return (present or candidates)[0]


# --- the table --------------------------------------------------------------------------------------------------------


def read_table(table: Path, options: Download) -> Iterator[Line]:
    """Yield the rows of the table as text: labels `01`, `NA` and `1.0` are not converted.

    Raises:
        DataError: no file, not UTF-8, no rows, a missing column, or a row with too few or too many cells.
    """
    if not table.is_file():
        raise DataError(f"download.table: {table} is not a file; put the table there or set download.path and .table.")
    try:
        with table.open("rb") as file:
            yield from _rows(file, table, options)
    except csv.Error as error:
        raise DataError(f"{table} is not a CSV table ({error}); save it as comma-separated text.") from None
    except OSError as error:
        raise DataError(f"{table} cannot be read ({error.strerror}); unlock it.") from None


def _rows(file: BinaryIO, table: Path, options: Download) -> Iterator[Line]:
    text = _text(file, table)
    delimiter, header, columns = _header(next(text, ""), table, options)
    empty = True
    for number, cells in _numbered(text, delimiter, table):
        if len(cells) != len(header):
            fix = f"quote cells that hold {delimiter!r}" if len(cells) > len(header) else "give the missing ones"
            raise DataError(f"{table}, line {number}: {len(cells)} cells under {len(header)} columns; {fix}.")
        empty = False
        image, *others = ("" if c is None else cells[c].strip() for c in columns)
        yield Line(number, image + (options.extension or "" if image else ""), *others)
    if empty:
        raise DataError(f"{table} has no rows; list one image a line under the header.")


def _numbered(text: Iterator[str], delimiter: str, table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, cells) of each row below the header that is not empty."""
    lines = csv.reader(text, Cells, delimiter=delimiter)
    while True:
        begin = lines.line_num + 2
        try:
            cells = next(lines, None)
        except csv.Error as error:
            reason = "a quote has no end" if "unexpected end" in str(error) else str(error)
            raise DataError(f"{table}, line {begin}: {reason}; correct the quotes of this row.") from None
        if cells is None:
            return
        if cells:
            yield lines.line_num + 1, cells


def _text(file: BinaryIO, table: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, with or without a byte order mark, none longer than LINE_LIMIT."""
    start = 0
    for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), b""), start=1):
        if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
            raise DataError(f"{table}, line {number}: longer than {LINE_LIMIT} bytes; save it as comma-separated text.")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{table} is not UTF-8 at byte {start + error.start}; save it as UTF-8.") from None
        yield text.removeprefix("\ufeff") if number == 1 else text
        start += len(line)


def _header(line: str, table: Path, options: Download) -> tuple[str, list[str], list[int | None]]:
    """Return (delimiter, names of the columns, positions of the wanted ones); a header is one line."""
    if not line.strip():
        raise DataError(f"{table} is empty; its first line must name the columns.")
    wanted = [
        ("image_column", options.image_column),
        ("label_column", options.label_column),
        ("split_column", options.split_column),
        ("group_column", options.group_column),
    ]
    fitting = [d for d in DELIMITERS if _fits(line, d, {name for _, name in wanted if name})]
    delimiter = options.delimiter or (fitting or list(DELIMITERS))[0]
    header = _cells(line, delimiter)
    if fitting and delimiter not in fitting:
        raise DataError(
            f"{table}: its columns are separated by {fitting[0]!r}, and download.delimiter is {delimiter!r}; set that "
            f"to {fitting[0]!r}, or to null to have it found."
        )
    return delimiter, header, [_column(table, header, name, key) for key, name in wanted]


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], Cells, delimiter=delimiter), [])]


def _fits(line: str, delimiter: str, columns: set[str]) -> bool:
    """Return whether a delimiter cuts the header into cells that include these columns."""
    try:
        return columns <= set(_cells(line, delimiter))
    except csv.Error:  # a quoted cell that ends before another character than the delimiter
        return False


def _column(table: Path, header: list[str], name: str | None, key: str) -> int | None:
    if name is None:
        return None
    if header.count(name) != 1:
        found = "more than once" if name in header else "not"
        raise DataError(
            f"{table}: the column {name!r} of download.{key} is {found} among {header!r}; {nearest(name, set(header))}"
        )
    return header.index(name)
