"""`archive`: a zip or tar of class folders, or of a table with its images, from a file or an address."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from imagetrail.addresses import is_address, shown
from imagetrail.artifacts import LabelRow, file_sha256
from imagetrail.errors import DataError
from imagetrail.sources import csv, folder
from imagetrail.sources.request import DOWNLOADS, Request
from imagetrail.sources.unpack import unpack

UNPACKED = ".unpacked"


def load(request: Request) -> Iterator[LabelRow]:
    """Fetch and unpack the archive, then read it as `csv` where it holds the table, else as `folder`.

    Folders that hold nothing but one folder are left out, so that pets.zip may begin with pets/.

    Raises:
        DataError: the archive cannot be had or is not to be trusted, or what is in it cannot be used.
    """
    unpacked = request.folder / UNPACKED
    called = shown(str(request.options.archive))
    unpack(_archive(request), unpacked, called)
    top = _top(unpacked)
    top.rename(request.folder / "images")
    while top != unpacked:
        top = top.parent
        top.rmdir()
    inside = replace(request, root=request.folder, options=request.options.model_copy(update={"path": "images"}))
    has_table = (inside.local / request.options.table).is_file()
    try:
        yield from (csv if has_table else folder).load(inside)
    except DataError as error:  # whose places are those of a folder that is gone now
        raise DataError(str(error).replace(f"{inside.local}/", "").replace(str(inside.local), called)) from None


def _archive(request: Request) -> Path:
    name, sha256 = request.options.archive, request.options.sha256
    assert name is not None, "params.py: this source has one"
    if is_address(name):
        from imagetrail.sources.fetch import fetch  # requests is for those who need it

        return fetch(name, request.root / DOWNLOADS, sha256)
    path = request.local / name
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
