"""`parquet`: files with columns of images and labels, which are used in place."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from imagetrail.console import progress
from imagetrail.download import names
from imagetrail.download.folders import SPLIT_FOLDERS
from imagetrail.download.job import SourceJob
from imagetrail.download.listing import Problems
from imagetrail.errors import DataError
from imagetrail.files.artifacts import LabelRow
from imagetrail.params.download import Download


def load(job: SourceJob) -> Iterator[LabelRow]:
    """List the rows of all .parquet files below `download.path`, in the order of files and rows.

    Without a split column a file's name states its split where it begins with one: train-00000-of-00002.parquet.

    Raises:
        DataError: there is no file, one is damaged or lacks a column, or rows lack an image or a label: all of these in
            one message.
    """
    root = job.local
    tree = names.Tree(root)
    problems = Problems(root)
    for name in progress(_files(root), total=None, description="download", unit="file"):
        reason = names.problem(name) or tree.locate(name)[1]
        if reason:
            problems.add(reason)
            continue
        yield from _rows(root, name, job.options, problems)
    problems.check()


def _files(root: Path) -> list[str]:
    found = [path.relative_to(root) for path in root.rglob("*.parquet")] if root.is_dir() else []
    visible = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    if not visible:
        raise DataError(f"{root} holds no .parquet files; put them there or set download.path.")
    return sorted(visible, key=lambda name: f"{name}/")


def _rows(root: Path, name: str, options: Download, problems: Problems) -> Iterator[LabelRow]:
    stated = re.match("[a-z]+", Path(name).name.lower())
    split_of_file = SPLIT_FOLDERS.get(stated[0], "") if stated else ""
    from imagetrail import parquet_file  # pyarrow is imported only if needed

    columns = [c for c in (options.label_column, options.split_column, options.group_column) if c is not None]
    for number, row in enumerate(parquet_file.rows(root / name, options.image_column, columns)):
        place = f"{name}, row {number}"
        values = dict(zip(columns, row.others, strict=True))
        label = (values[options.label_column] or "").strip()
        split = (values[options.split_column] or "") if options.split_column else split_of_file
        group = (values[options.group_column] or "") if options.group_column else ""
        if row.image is None:
            problems.add(f"{place}: no image in the column {options.image_column!r}, or only the name of one")
        elif not label:
            problems.add(f"{place}: the label is empty; give one")
        elif split not in ("", "train", "val", "test"):
            problems.add(f"{place}: the split is {split!r}; it must be train, val, test or empty")
        else:
            sha256 = hashlib.sha256(row.image).hexdigest()
            yield LabelRow(f"{name}/{number:08d}", label, split, group, str(len(row.image)), sha256)
