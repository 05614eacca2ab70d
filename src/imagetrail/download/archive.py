"""`archive`: a zip or tar of class folders, or of a table with its images, from a file or an address."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from imagetrail.addresses import is_address, shown
from imagetrail.download import folders, table
from imagetrail.download.job import DOWNLOADS, SourceJob
from imagetrail.download.unpack import unpack
from imagetrail.errors import DataError
from imagetrail.files.artifacts import LabelRow, file_sha256

UNPACKED = ".unpacked"


def load(job: SourceJob) -> Iterator[LabelRow]:
    """Fetch and unpack the archive, then read it as `csv` if it contains the table, else as `folder`.

    A folder that contains only one folder is skipped, so pets.zip may start with pets/.

    Raises:
        DataError: the archive cannot be obtained or is not safe, or its contents cannot be used.
    """
    unpacked = job.folder / UNPACKED
    called = shown(str(job.options.archive))
    top = opened(_archive(job), unpacked, called)
    top.rename(job.folder / "images")
    while top != unpacked:
        top = top.parent
        top.rmdir()
    place = str((job.folder / "images").resolve())
    inside = replace(job, options=job.options.model_copy(update={"path": place}))
    has_table = any(path.is_file() for name in job.options.tables for path in inside.local.glob(name))
    if job.options.columns and not has_table:
        raise DataError(
            f"download.columns = {job.options.columns!r} needs a table, and {called} holds none; set it to null."
        )
    try:
        yield from (table if has_table else folders).load(inside)
    except DataError as error:  # which names paths of a folder that no longer exists
        raise DataError(str(error).replace(f"{inside.local}/", "").replace(str(inside.local), called)) from None


def opened(archive: Path, target: Path, called: str) -> Path:
    """Unpack an archive into a folder, and return the folder in it that holds more than one folder."""
    unpack(archive, target, called)
    return _top(target)


def _archive(job: SourceJob) -> Path:
    name, sha256 = job.options.archive, job.options.sha256
    assert name is not None, "params/download.py: this source has one"
    if is_address(name):
        from imagetrail.download.fetch import fetch  # requests is imported only if needed

        return fetch(name, job.root / DOWNLOADS, sha256)
    path = job.local / name
    if not path.is_file():
        raise DataError(f"download.archive: {path} is not a file; put it there, or correct download.path or .archive.")
    if sha256 is not None and (found := file_sha256(path)) != sha256:
        raise DataError(
            f"{path} has sha256 {found} and download.sha256 is {sha256}; use the right file, or correct that."
        )
    return path


def _top(unpacked: Path) -> Path:
    while True:
        inside = list(unpacked.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            return unpacked
        (unpacked,) = inside
