"""`parquet`: files with columns of images and labels, which are used in place."""

import csv
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagetrail.console import progress
from imagetrail.download import labels, names
from imagetrail.download.job import SourceJob
from imagetrail.download.listing import Problems
from imagetrail.errors import DataError
from imagetrail.files import artifacts
from imagetrail.files.artifacts import LabelRow
from imagetrail.params.download import Download


def load(job: SourceJob) -> Iterator[LabelRow]:
    """List the rows of all .parquet files below `download.path`, in the order of files and rows.

    Without a split column a file's name states its split if it begins with one (train-00000-of-00002.parquet), or its
    folder does (train/0000.parquet).

    Raises:
        DataError: there is no file, one is damaged or lacks a column, or rows lack an image or a label: all of these in
            one message.
    """
    root = job.local
    tree = names.Tree(root)
    problems, reading = Problems(root, job.root), labels.Labels(job.options, root)
    with _kept(job) as keep:
        for name in progress(_files(root), total=None, description="download", unit="file"):
            reason = names.problem(name) or tree.locate(name)[1]
            if reason:
                problems.add(reason)
                continue
            yield from _rows(root, name, job.options, reading, problems, keep)
    problems.check()


Keep = Callable[[str, list[str]], object]
"""Takes the name of an image and its values of download.columns."""


@contextmanager
def _kept(job: SourceJob) -> Iterator[Keep]:
    """Write columns.csv, if columns are asked for."""
    if not job.options.columns:
        yield lambda image, values: None
        return
    with (job.folder / artifacts.COLUMNS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *job.options.column_names])
        yield lambda image, values: writer.writerow([image, *values])


def _files(root: Path) -> list[str]:
    found = [path.relative_to(root) for path in root.rglob("*.parquet")] if root.is_dir() else []
    visible = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    if not visible:
        raise DataError(f"{root} holds no .parquet files; put them there or set download.path.")
    return sorted(visible, key=lambda name: f"{name}/")


def _rows(
    root: Path, name: str, options: Download, reading: labels.Labels, problems: Problems, keep: Keep
) -> Iterator[LabelRow]:
    split_of_file = labels.stated_split(name)
    from imagetrail import parquet_file  # pyarrow is imported only if needed

    assert isinstance(options.label_column, str), "params/download.py: parquet has columns by name"
    sides = (c for c in (options.split_column, options.group_column) if isinstance(c, str))
    columns = list(dict.fromkeys([options.label_column, *sides, *options.column_names]))
    for number, row in enumerate(parquet_file.rows(root / name, str(options.image_column), columns)):
        place = f"{name}, row {number}"
        values = dict(zip(columns, row.others, strict=True))
        label, unknown = reading.read(values[options.label_column] or "")
        split = (values[str(options.split_column)] or "") if options.split_column else split_of_file
        group = (values[str(options.group_column)] or "") if options.group_column else ""
        if row.image is None:
            problems.add(f"{place}: no image in the column {options.image_column!r}, or only the name of one")
        elif reason := labels.problem(place, label, split) or unknown:
            problems.add(reason)
        else:
            split, sha256 = labels.split_of(split) or "", hashlib.sha256(row.image).hexdigest()
            keep(f"{name}/{number:08d}", [values[column] or "" for column in options.column_names])
            yield LabelRow(f"{name}/{number:08d}", label, split, group, str(len(row.image)), sha256)
