"""`folder`: one folder of images per class, with or without train and test folders above them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from imagetrail.download import labels, names
from imagetrail.download.job import SourceJob
from imagetrail.download.listing import ListedImage, Listing, Problems
from imagetrail.errors import DataError
from imagetrail.files.artifacts import LabelRow


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
    problems = Problems(root)
    with Listing(problems) as listing:
        for split, part in _parts(root):
            for folder in _folders(root, part):
                files = list(_files(root, f"{part}/{folder}".strip("/")))
                if not files:
                    problems.add(f"the class folder {f'{part}/{folder}'.strip('/')!r} is empty; fill or remove it")
                for name in files:
                    reason = names.problem(name) or tree.locate(name)[1] or _linked_folder(root / name)
                    if reason:
                        problems.add(reason)
                    else:
                        listing.add(ListedImage(name, labels.label_of(folder), split, "", 0))
        problems.check()
        if listing.empty:
            raise DataError(
                f"{root} holds no images in class folders; put each image into a folder named after its class: "
                "daisy/001.jpg, or train/daisy/001.jpg and test/daisy/002.jpg."
            )
        yield from listing.identify(root, job.jobs)


def _parts(root: Path) -> list[tuple[str, str]]:
    """Return (split, folder) of each folder that states a split, or ("", "") if the folders are classes."""
    tops = _folders(root, "")
    parts = [(split, name) for name in tops if (split := labels.split_of(name)) is not None]
    others = [name for name in tops if labels.split_of(name) is None]
    if len({split for split, _ in parts}) > 1:
        if others:
            raise DataError(
                f"{root / others[0]} is beside {' and '.join(name for _, name in parts)}, which state a split; move it "
                "away, or name it train, val or test."
            )
        return parts
    if not parts and len(tops) > 1 and len({_without_split(name) for name in tops}) == 1:
        raise DataError(
            f"the folders {', '.join(tops)} of {root} look like a split; name them train, val or test, with the class "
            "folders directly inside."
        )
    return parts if parts and not others else [("", "")]


def _without_split(name: str) -> str:
    """Return a name without its words for splits; unchanged without any, so that seg_train and seg_test are equal."""
    return "_".join(word for word in re.split(r"[\W_]+", name) if labels.split_of(word) is None)


def _folders(root: Path, folder: str) -> list[str]:
    """Return the folders in a folder, sorted; other files in it would be lost, so they are an error."""
    visible = sorted(
        (entry for entry in os.scandir(root / folder) if not names.is_hidden(entry.name)), key=lambda entry: entry.name
    )
    if stray := [entry.path for entry in visible if not entry.is_dir()]:
        raise DataError(
            f"{stray[0]} is a file where a folder named after a class is expected; move it into one, or away."
        )
    return [entry.name for entry in visible]


def _files(root: Path, folder: str) -> Iterator[str]:
    """Yield every file below a folder; links to folders are not followed."""
    for entry in os.scandir(root / folder):
        if names.is_hidden(entry.name):
            continue
        name = f"{folder}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _files(root, name)
        else:
            yield name


def _linked_folder(path: Path) -> str | None:
    return f"{str(path)!r} is a link to a folder; move the folder here" if path.is_dir() else None
