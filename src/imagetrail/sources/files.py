"""Local image files, listed: what the sources that leave pixels where they are have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from joblib import Parallel, delayed

from imagetrail.artifacts import LabelRow, file_sha256
from imagetrail.console import progress


class Entry(NamedTuple):
    """An image of the user's, before its file is looked at."""

    image: str
    """Name from the images' folder, with forward slashes."""
    label: str
    split: str
    group: str


def identify(folder: Path, entries: Sequence[Entry], jobs: int) -> list[LabelRow]:
    """Rows of labels.csv with the size and sha256 of every file.

    A missing file keeps empty fields, and `preprocess` rejects it together with the images that cannot be decoded.

    Args:
        folder: where the names start from.
        entries: the images.
        jobs: workers; -1 is one a core.
    """
    found = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(
        delayed(_identify)(folder / entry.image) for entry in entries
    )
    bar = progress(found, total=len(entries), description="download", unit="image")
    return [LabelRow(*entry, size, sha256) for entry, (size, sha256) in zip(entries, bar, strict=True)]


def _identify(path: Path) -> tuple[str, str]:
    """(size, sha256) of a file, both empty where there is none to read."""
    try:
        return str(path.stat().st_size), file_sha256(path) if path.is_file() else ""
    except OSError:
        return "", ""
