"""Local image files, listed: what the sources that leave pixels where they are have in common.

The list goes through a temporary SQLite database, which sorts it and finds what is named twice, so that memory does not
grow with the number of images.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

from joblib import Parallel, delayed

from imagetrail.console import progress
from imagetrail.errors import DataError
from imagetrail.files.artifacts import LabelRow, file_sha256

PROBLEMS_SHOWN = 20
"""Mistakes listed in a message; the rest is counted."""
FILES_PER_TASK = 64
"""Files that a thread looks at before it takes new ones."""


class ListedImage(NamedTuple):
    """An image of the user's, before its file is looked at."""

    image: str
    """Name from the data's folder, with forward slashes."""
    label: str
    split: str
    group: str
    line: int
    """Line of the table that names the image; 0 for a file found in a folder."""


class Problems:
    """Collect what is wrong with the images of a source, to report all of it at once."""

    def __init__(self, of: Path) -> None:
        """Begin with nothing wrong in a table or a folder."""
        self._of = of
        self._shown: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        """Note a mistake."""
        self._count += 1
        if len(self._shown) < PROBLEMS_SHOWN:
            self._shown.append(problem)

    def check(self) -> None:
        """Raise DataError where something was noted: all of it in one message."""
        if self._count:
            count = f"{self._count} mistakes" if self._count > 1 else "a mistake"
            more = f"\n  and {self._count - PROBLEMS_SHOWN} more" if self._count > PROBLEMS_SHOWN else ""
            raise DataError(f"{self._of} has {count}:\n  " + "\n  ".join(self._shown) + more)


class Listing:
    """The images of a source, sorted, each once."""

    def __init__(self, problems: Problems) -> None:
        """Begin an empty list; rows that contradict each other are noted among the problems."""
        self._problems = problems
        self.repeated = 0
        """Rows that repeat an earlier one."""
        # A file of its own that goes with the connection; joblib asks for rows from its threads, one at a time.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE entry (image TEXT PRIMARY KEY, label TEXT, split TEXT, grp TEXT, line INT) WITHOUT ROWID"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, entry: ListedImage) -> None:
        """Take an image into the list; the same row again is counted, another row for the same image refused."""
        if self._database.execute("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?)", entry).rowcount:
            return
        found = self._database.execute("SELECT * FROM entry WHERE image = ?", (entry.image,)).fetchone()
        earlier = ListedImage(*found)
        if earlier[:4] == entry[:4]:
            self.repeated += 1
            return
        first = next(field for field in ("label", "split", "group") if getattr(entry, field) != getattr(earlier, field))
        self._problems.add(
            f"line {entry.line}: {entry.image!r} is {getattr(entry, first)!r} here and {getattr(earlier, first)!r} on "
            f"line {earlier.line}; keep one"
        )

    @property
    def empty(self) -> bool:
        """Return whether the list has no images."""
        return self._database.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is None

    def identify(self, folder: Path, jobs: int) -> Iterator[LabelRow]:
        """Yield the rows of labels.csv in order, with the size and sha256 of every file.

        A missing file keeps empty fields, and `preprocess` rejects it together with the images that cannot be decoded.

        Args:
            folder: where the names start from.
            jobs: workers; -1 is one a core.
        """
        (total,) = self._database.execute("SELECT count(*) FROM entry").fetchone()
        entries = (ListedImage(*found) for found in self._database.execute("SELECT * FROM entry ORDER BY image"))
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
    """Return both as text; empty where there is no file to read."""
    try:
        return str(path.stat().st_size), file_sha256(path) if path.is_file() else ""
    except OSError:
        return "", ""
