"""`folder`: a folder of images for each class, with or without train and test folders above them."""

from pathlib import Path

from imagetrail.artifacts import LabelRow
from imagetrail.errors import DataError
from imagetrail.sources.files import Entry, identify
from imagetrail.sources.request import Request

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders that state a split."""


def load(request: Request) -> list[LabelRow]:
    """List the files; a class is named by its folder. Names that begin with a dot are no one's images.

    Raises:
        DataError: there is no folder, no class in it, or a file where a class or a split should be.
    """
    root = request.local
    if not root.is_dir():
        raise DataError(f"download.path = {request.options.path!r} is not a folder; give one that holds class folders.")
    names = [path.name for path in _folders(root)]
    stated = names and all(name.lower() in SPLITS for name in names)
    parts = [(SPLITS[name.lower()], root / name) for name in names] if stated else [("", root)]
    entries = [
        Entry(path.relative_to(root).as_posix(), label.name, split, "")
        for split, folder in parts
        for label in _folders(folder)
        for path in sorted(label.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    if not entries:
        raise DataError(
            f"{root} holds no images in class folders; put each image into a folder named after its class: "
            "daisy/001.jpg, or train/daisy/001.jpg and test/daisy/002.jpg."
        )
    return identify(root, entries, request.jobs)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; a file beside them would be lost, so it is an error."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if stray := [path for path in visible if not path.is_dir()]:
        raise DataError(
            f"{stray[0]} is a file where a folder named after a class is expected; move it into one, or away."
        )
    return visible
