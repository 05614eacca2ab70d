"""Sources `Flowers102`, `Food101` and their like: torchvision's data sets of photographs, with their official split.

Files below `download.path` stay there; otherwise torchvision downloads them.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imagetrail.console import warn
from imagetrail.download.job import DOWNLOADS, SourceJob
from imagetrail.download.listing import ListedImage, Listing, Problems
from imagetrail.errors import DataError
from imagetrail.files.artifacts import LabelRow

SPLIT_NAMES: Mapping[str, Mapping[str, str]] = {
    "DTD": {"train": "train", "val": "val", "test": "test"},
    "FGVCAircraft": {"train": "train", "val": "val", "test": "test"},
    "Flowers102": {"train": "train", "val": "val", "test": "test"},
    "Food101": {"train": "train", "test": "test"},
    "OxfordIIITPet": {"train": "trainval", "test": "test"},
}
"""torchvision's names for train, val and test."""


def load(job: SourceJob) -> Iterator[LabelRow]:
    """List the photographs with their official split; what was downloaded comes under `images/`.

    Raises:
        DataError: the files are neither under `download.path` nor to be downloaded.
    """
    name = job.options.source
    root, parts = _open(job)
    problems = Problems(root, job.root)
    with Listing(problems) as listing:
        for split, part in parts.items():
            for path, label in _members(part):
                listing.add(ListedImage(path.relative_to(root).as_posix(), label, split, "", ""))
        problems.check()
        if listing.empty:
            raise DataError(f"{name} under {root} is empty; remove it and repeat, to download it.")
        rows = listing.identify(root, job.jobs, job.reads)
        if root == job.local:
            yield from rows
            return
        for row in rows:
            _link(root / row.image, job.folder / "images" / row.image)
            yield row


def _open(job: SourceJob) -> tuple[Path, dict[str, Any]]:
    """Return (folder, data sets by split), local or downloaded."""
    from torchvision import datasets

    name = job.options.source
    named_set = getattr(datasets, name)
    downloads = job.root / DOWNLOADS
    try:
        try:
            return job.local, {s: named_set(job.local, split=t) for s, t in SPLIT_NAMES[name].items()}
        except (RuntimeError, FileNotFoundError):
            warn(f"{name} is not under {job.options.path}; torchvision downloads it.")
        return downloads, {s: named_set(downloads, split=t, download=True) for s, t in SPLIT_NAMES[name].items()}
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{name} could not be loaded ({str(error).strip().splitlines()[-1]}); put its files under download.path = "
            f"{job.options.path!r} and repeat."
        ) from error


def _members(part: Any) -> Iterator[tuple[Path, str]]:
    """Yield (file, class name) of every image; torchvision keeps the files in one of two private attributes."""
    files = part._images if hasattr(part, "_images") else part._image_files
    for path, label in zip(files, part._labels, strict=True):
        yield Path(path), part.classes[label]


def _link(source: Path, target: Path) -> None:
    """Link a file under another name, or copy it where the disk cannot do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
