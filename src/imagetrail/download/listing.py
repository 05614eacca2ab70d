"""List local image files, for all sources that leave pixels in place.

The list goes through a temporary SQLite database, which sorts it and detects duplicate names, so that memory does not
grow with the number of images.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

from joblib import Parallel, delayed

from imagetrail.console import progress
from imagetrail.errors import DataError, printable
from imagetrail.files import artifacts
from imagetrail.files.artifacts import LabelRow, LineRow, file_sha256

PROBLEMS_SHOWN = 20
"""Largest number of mistakes listed in a message."""
MISTAKES = Path("data/mistakes.txt")
"""The list that a failing download writes: outside DVC's outputs, so that `dvc checkout` restores those unasked."""
FILES_PER_TASK = 64
"""Number of files in a thread's task."""


class ListedImage(NamedTuple):
    """An image that the user listed, before its file is read."""

    image: str
    """Name from the data's folder, with forward slashes."""
    label: str
    split: str
    group: str
    place: str
    """Table and line that name the image; empty for a file found in a folder."""
    columns: str = "[]"
    """The values of download.columns, as JSON."""


class Problems:
    """Collect the problems of a source's images, to report all of them at once."""

    def __init__(self, of: Path, root: Path) -> None:
        """Start without problems of a table or folder; `root` is the repository's."""
        self.of = of
        self._file = root / MISTAKES
        self._file.unlink(missing_ok=True)
        self._shown: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        """Add a problem."""
        self._count += 1
        if len(self._shown) < PROBLEMS_SHOWN:
            self._shown.append(problem)
            return
        # Memory must not grow with the number of mistakes.
        text = "".join(f"{printable(line)}\n" for line in ([*self._shown, problem] if self._more() == 1 else [problem]))
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("w" if self._more() == 1 else "a", encoding="utf-8") as file:
            file.write(text)

    def _more(self) -> int:
        return self._count - PROBLEMS_SHOWN

    def check(self) -> None:
        """Raise a DataError with all problems, if there are any; what is too long for it is in MISTAKES."""
        if self._count:
            count = f"{self._count} mistakes" if self._count > 1 else "a mistake"
            more = f"\n  and {self._more()} more; {MISTAKES} lists all" if self._more() > 0 else ""
            raise DataError(f"{self.of} has {count}:\n  " + "\n  ".join(self._shown) + more)


class Listing:
    """The images of a source, sorted and unique."""

    def __init__(self, problems: Problems) -> None:
        """Start an empty list; contradictory rows are added to the problems."""
        self._problems = problems
        self.repeated = 0
        """Rows that repeat an earlier one."""
        # A file of its own that goes with the connection; joblib asks for rows from its threads, one at a time.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE entry (image TEXT PRIMARY KEY, label TEXT, split TEXT, grp TEXT, place TEXT, columns TEXT) "
            "WITHOUT ROWID"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, entry: ListedImage) -> None:
        """Add an image; an equal row is counted, and a different row for the same image is a problem."""
        if self._database.execute("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?)", entry).rowcount:
            return
        found = self._database.execute("SELECT * FROM entry WHERE image = ?", (entry.image,)).fetchone()
        earlier = ListedImage(*found)
        if earlier._replace(place=entry.place) == entry:
            self.repeated += 1
            return
        fields = ("label", "split", "group", "columns")
        first = next(field for field in fields if getattr(entry, field) != getattr(earlier, field))
        self._problems.add(
            f"{entry.place}: {entry.image!r} is {getattr(entry, first)!r} here and {getattr(earlier, first)!r} on "
            f"{earlier.place}; keep one"
        )

    @property
    def empty(self) -> bool:
        """Return whether the list has no images."""
        return self._database.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is None

    def write_lines(self, path: Path) -> None:
        """Write lines.csv: where a table names each image."""
        found = self._database.execute("SELECT image, place FROM entry ORDER BY image")
        artifacts.write_rows(path, LineRow._fields, found)

    def write_columns(self, path: Path, names: list[str]) -> None:
        """Write columns.csv: the values of download.columns of each image."""
        found = self._database.execute("SELECT image, columns FROM entry ORDER BY image")
        artifacts.write_rows(path, ["image", *names], ([image, *json.loads(values)] for image, values in found))

    def identify(self, folder: Path, jobs: int, reads: bool = True) -> Iterator[LabelRow]:
        """Yield the rows of labels.csv in order, with the size and sha256 of every file.

        A missing file keeps empty fields, and `preprocess` rejects it together with the images that cannot be decoded.

        Args:
            folder: that the names are relative to.
            jobs: workers; -1 means one per core.
            reads: whether to read the files; without, the size and the sha256 are empty.
        """
        (total,) = self._database.execute("SELECT count(*) FROM entry").fetchone()
        entries = (ListedImage(*found) for found in self._database.execute("SELECT * FROM entry ORDER BY image"))
        if not reads:
            yield from (LabelRow(*entry[:4], "", "") for entry in entries)
            return
        work = (delayed(_identify)(folder, chunk) for chunk in _chunks(entries))
        found = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(work)
        rows = (row for chunk in found for row in chunk)
        yield from progress(rows, total=total, description="download", unit="image")


def _chunks(entries: Iterator[ListedImage]) -> Iterator[list[ListedImage]]:
    while chunk := list(islice(entries, FILES_PER_TASK)):
        yield chunk


def _identify(folder: Path, entries: Iterable[ListedImage]) -> list[LabelRow]:
    return [LabelRow(*entry[:4], *_size_and_sha256(folder / entry.image)) for entry in entries]


def _size_and_sha256(path: Path) -> tuple[str, str]:
    """Return both as text; empty if there is no file to read."""
    try:
        return str(path.stat().st_size), file_sha256(path) if path.is_file() else ""
    except OSError:
        return "", ""
