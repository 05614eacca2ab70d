"""`folder`: one folder of images per class, with or without train and test folders above them."""

import os
from collections.abc import Iterator
from pathlib import Path

from imagetrail.download import names
from imagetrail.download.job import SourceJob
from imagetrail.download.listing import ListedImage, Listing, Problems
from imagetrail.errors import DataError
from imagetrail.files.artifacts import LabelRow

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Names of folders that state a split."""


def load(job: SourceJob) -> Iterator[LabelRow]:
    """List the files; each folder is a class. Dotfiles are ignored.

    Raises:
        DataError: there is no folder, no class in it, a file where a class or a split should be, or a link that leads
            out of the folder or to another folder.
    """
    root = job.local
    if not root.is_dir():
        raise DataError(f"download.path = {job.options.path!r} is not a folder; give one that holds class folders.")
    tree = names.Tree(root)
    tops = _folders(root, "")
    stated = tops and all(name.lower() in SPLIT_FOLDERS for name in tops)
    parts = [(SPLIT_FOLDERS[name.lower()], name) for name in tops] if stated else [("", "")]
    problems = Problems(root)
    with Listing(problems) as listing:
        for split, part in parts:
            for label in _folders(root, part):
                for name in _files(root, f"{part}/{label}".strip("/")):
                    reason = names.problem(name) or tree.locate(name)[1] or _linked_folder(root / name)
                    if reason:
                        problems.add(reason)
                    else:
                        listing.add(ListedImage(name, label, split, "", 0))
        problems.check()
        if listing.empty:
            raise DataError(
                f"{root} holds no images in class folders; put each image into a folder named after its class: "
                "daisy/001.jpg, or train/daisy/001.jpg and test/daisy/002.jpg."
            )
        yield from listing.identify(root, job.jobs)


def _folders(root: Path, folder: str) -> list[str]:
    """Return the folders in a folder, sorted; other files in it would be lost, so they are an error."""
    visible = sorted(
        (entry for entry in os.scandir(root / folder) if not entry.name.startswith(".")), key=lambda entry: entry.name
    )
    if stray := [entry.path for entry in visible if not entry.is_dir()]:
        raise DataError(
            f"{stray[0]} is a file where a folder named after a class is expected; move it into one, or away."
        )
    return [entry.name for entry in visible]


def _files(root: Path, folder: str) -> Iterator[str]:
    """Yield every file below a folder; links to folders are not followed."""
    for entry in os.scandir(root / folder):
        if entry.name.startswith("."):
            continue
        name = f"{folder}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _files(root, name)
        else:
            yield name


def _linked_folder(path: Path) -> str | None:
    return f"{str(path)!r} is a link to a folder; move the folder here" if path.is_dir() else None
