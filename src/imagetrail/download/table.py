"""`csv`: a table of image names and labels, and folders of images, which are used in place."""

import csv
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from imagetrail.console import warn
from imagetrail.download import labels
from imagetrail.download.finder import Finder
from imagetrail.download.job import SourceJob
from imagetrail.download.listing import ListedImage, Listing, Problems
from imagetrail.download.pattern import Pattern
from imagetrail.errors import DataError, nearest, quoted
from imagetrail.files import artifacts
from imagetrail.files.artifacts import LabelRow
from imagetrail.params.download import CORRECTIONS, DELIMITERS, Download

LINE_LIMIT = 2**20
"""Bytes of a line; csv's own limit of a cell is 131,072 characters."""
MARKS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False,
         "": False}  # fmt: skip
"""How tables with a column for each class mark one."""


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
    columns: list[str]
    """The values of download.columns."""
    problem: str | None
    """Why the row has no label, where each class has a column."""


def load(job: SourceJob) -> Iterator[LabelRow]:
    """Read the tables, check every row, and take the size and sha256 of every image.

    A missing image does not count as a mistake of the table; `preprocess` rejects it. Images given by address are
    fetched into `images/`.

    Raises:
        DataError: a table is missing, is not a CSV, lacks a column or has bad rows: all of them in one message.
    """
    options = job.options
    tables = _tables(job.local, options)
    problems = Problems(job.local / tables[0] if len(tables) == 1 else job.local, job.root)
    finder = Finder(job.local, options.image_folders)
    reading = labels.Labels(options, job.local)
    pattern = Pattern(options.pattern) if options.pattern else None
    with Listing(problems) as listing:
        for table in tables:
            finder.enter(table)
            split_of_table = labels.stated_split(table) if len(tables) > 1 and not options.split_column else ""
            for line in read_table(job.local / table, options):
                place = f"{table}, line {line.number}" if len(tables) > 1 else f"line {line.number}"
                split = line.split or split_of_table
                label, problem = reading.read(line.label)
                problem = line.problem or labels.problem(line.image, label, split) or problem
                name, lost = finder.find(line.image)
                held = pattern.read(name) if pattern and not lost else None
                if pattern and not lost and held is None:
                    lost = f"{quoted(name)} does not fit download.pattern = {pattern.text!r}; correct one of them"
                if problem or lost:
                    problems.add(f"{place}: {lost or problem}")
                    continue
                split, group = split or (held.split if held else ""), line.group or (held.group if held else "")
                further = json.dumps(line.columns, ensure_ascii=False)
                listing.add(ListedImage(name, label, labels.split_of(split) or "", group, place, further))
        problems.check()
        if listing.repeated:
            warn(f"{problems.of}: {listing.repeated} rows repeat an earlier one and are used once.")
        if finder.dropped:
            warn(f"{problems.of}: its names begin with {finder.dropped!r}, which is left out.")
        if job.lines is not None:
            listing.write_lines(job.lines / "lines.csv")
        if options.columns:
            listing.write_columns(job.folder / artifacts.COLUMNS, options.column_names)
        if not finder.addresses:
            yield from listing.identify(job.local, job.jobs, job.reads)
            return
        from imagetrail.download.fetch import fetch_images  # requests is imported only if needed

        fetch_images(finder.addresses, job)
        yield from listing.identify(job.folder / "images", job.jobs, job.reads)


def _tables(root: Path, options: Download) -> list[str]:
    """List the tables that `options.table` means, from the root; a pattern means those that fit it."""
    found: list[str] = []
    for text in options.tables:
        fitting = [text]
        if "*" in text:
            fitting = sorted({path.relative_to(root).as_posix() for path in root.glob(text)} - {CORRECTIONS})
        if not fitting:
            raise DataError(f"download.table: no file in {root} fits {text!r}; put tables there, or correct it.")
        found += fitting
    return list(dict.fromkeys(found))


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
    first = next(text, "")
    delimiter, header, columns = _header(first, table, options)
    if not options.header:
        text = chain([first], text)
    empty = True
    for number, cells in _numbered(text, delimiter, table, 1 if options.header else 0):
        if len(cells) != len(header):
            fix = f"quote cells that hold {delimiter!r}" if len(cells) > len(header) else "give the missing ones"
            raise DataError(f"{table}, line {number}: {len(cells)} cells under {len(header)} columns; {fix}.")
        empty = False
        image, label, split, group, *further = (_cell(cells, column) for column in columns)
        problem = None
        if isinstance(columns[1], list):
            label, problem = _marked({header[column]: cells[column].strip() for column in columns[1]})
        yield Line(number, image + (options.suffix if image else ""), label, split, group, further, problem)
    if empty:
        raise DataError(f"{table} has no rows; list one image a line under the header.")


def _cell(cells: list[str], column: int | list[int] | None) -> str:
    return cells[column].strip() if isinstance(column, int) else ""


def _marked(cells: Mapping[str, str]) -> tuple[str, str | None]:
    """Return (the class whose column a row marks with 1, why there is none), where each class has a column."""
    marks = {name: MARKS.get(cell.lower()) for name, cell in cells.items()}
    if unclear := [name for name, mark in marks.items() if mark is None]:
        return "", f"{quoted(cells[unclear[0]])} in the column {unclear[0]!r} is neither 0 nor 1; correct it"
    marked = [name for name, mark in marks.items() if mark]
    if len(marked) == 1:
        return marked[0], None
    found = f"{marked[0]!r} and {marked[1]!r}" if marked else "no class"
    return "", f"the row marks {found}; mark one class with 1"


def _numbered(text: Iterator[str], delimiter: str, table: Path, above: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, cells) of each row that is not empty; `above` counts the lines already read."""
    lines = csv.reader(text, Cells, delimiter=delimiter)
    while True:
        begin = lines.line_num + above + 1
        try:
            cells = next(lines, None)
        except csv.Error as error:
            reason = "a quote has no end" if "unexpected end" in str(error) else str(error)
            raise DataError(f"{table}, line {begin}: {reason}; correct the quotes of this row.") from None
        if cells is None:
            return
        if cells:
            yield lines.line_num + above, cells


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


def _header(line: str, table: Path, options: Download) -> tuple[str, list[str], list[int | list[int] | None]]:
    """Return (delimiter, names of the columns, positions of the wanted ones); a header is one line."""
    if not line.strip():
        raise DataError(f"{table} is empty; its first line must name the columns.")
    wanted = [
        ("image_column", options.image_column),
        ("label_column", options.label_column),
        ("split_column", options.split_column),
        ("group_column", options.group_column),
        *(("columns", column) for column in options.columns or []),
    ]
    given = [column for _, one in wanted for column in (one if isinstance(one, list) else [one]) if column is not None]
    fitting = [sign for sign in DELIMITERS if _fits(line, sign, given)]
    delimiter = options.delimiter or (fitting or list(DELIMITERS))[0]
    cells = _cells(line, delimiter)
    if fitting and delimiter not in fitting:
        raise DataError(
            f"{table}: its columns are separated by {fitting[0]!r}, and download.delimiter is {delimiter!r}; set that "
            f"to {fitting[0]!r}, or to null to have it found."
        )
    header = cells if options.header else [str(number) for number in range(1, len(cells) + 1)]
    positions: list[int | list[int] | None] = []
    for key, column in wanted:
        if isinstance(column, list):
            positions.append([_column(table, header, name, key) for name in column])
        else:
            positions.append(None if column is None else _column(table, header, column, key))
    return delimiter, header, positions


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], Cells, delimiter=delimiter), [])]


def _fits(line: str, delimiter: str, columns: list[str | int]) -> bool:
    """Return whether a delimiter cuts the first line into cells that include these columns."""
    try:
        cells = _cells(line, delimiter)
    except csv.Error:  # a quoted cell that ends before another character than the delimiter
        return False
    return all(column in cells if isinstance(column, str) else column <= len(cells) for column in columns)


def _column(table: Path, header: list[str], column: str | int, key: str) -> int:
    if isinstance(column, int):
        if column > len(header):
            raise DataError(f"{table} has {len(header)} columns, and download.{key} = {column}; correct it.")
        return column - 1
    if header.count(column) != 1:
        found = "more than once" if column in header else "not"
        raise DataError(
            f"{table}: the column {column!r} of download.{key} is {found} among {quoted(header, 300)}; "
            f"{nearest(column, set(header))}"
        )
    return header.index(column)
