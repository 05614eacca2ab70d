"""`folder`: one folder of images per class, with or without train and test folders above, or names by a pattern."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from imagetrail.console import warn
from imagetrail.download import kinds, labels, names
from imagetrail.download.job import SourceJob
from imagetrail.download.listing import ListedImage, Listing, Problems
from imagetrail.download.pattern import Held, Pattern
from imagetrail.download.reading import Reading, refuse
from imagetrail.errors import DataError
from imagetrail.files import artifacts
from imagetrail.files.artifacts import LabelRow

SKIPPED = "skipped.csv"
KINDS_SHOWN = 5


class Skipped(NamedTuple):
    """A line of skipped.csv: a file among the images that is none, or has no label."""

    file: str
    reason: str


def load(job: SourceJob) -> Iterator[LabelRow]:
    """List the images; each folder is a class, unless `pattern` says otherwise. Other files go to skipped.csv.

    Raises:
        DataError: there is no folder, no class in it, an image outside the class folders, folders that can be read in
            two ways, or a link that leads out of the folder or to another folder.
    """
    root, options = job.local, job.options
    if not root.is_dir():
        raise DataError(f"download.path = {options.path!r} is not a folder; give one that holds class folders.")
    tree, problems, reading = names.Tree(root), Problems(root, job.root), labels.Labels(options, root)
    skipped: list[Skipped] = []
    try:
        place = _by_pattern(root, options.pattern) if options.pattern else _by_folder(root, problems)
    except AmbiguousError as error:
        refuse(str(error), error.readings)
    with Listing(problems) as listing:
        for name in _files(root, "", skipped):
            if problem := names.problem(name) or tree.locate(name)[1] or _linked_folder(root / name):
                problems.add(problem)
            elif not kinds.is_image(root / name):
                skipped.append(Skipped(name, "not an image"))
            elif isinstance(held := place(name), Skipped):
                skipped.append(held)
            elif isinstance(held, str):
                problems.add(held)
            else:
                label, problem = reading.read(held.label)
                problem = labels.problem(name, label, held.split) or problem
                if problem:
                    problems.add(problem)
                else:
                    split = labels.split_of(held.split) or ""
                    listing.add(ListedImage(name, label, split, held.group, ""))
        problems.check()
        if listing.empty:
            raise DataError(
                f"{root} holds no images in class folders; put each image into a folder named after its class: "
                "daisy/001.jpg, or train/daisy/001.jpg and test/daisy/002.jpg."
            )
        _report(job.folder / SKIPPED, skipped)
        yield from listing.identify(root, job.jobs, job.reads)


Place = Callable[[str], Held | Skipped | str]
"""Reads an image's name: what it holds, that it is skipped, or a problem."""


def _by_pattern(root: Path, text: str) -> Place:
    """Read names by a pattern; a folder for a split in which no name fits holds images without labels."""
    pattern = Pattern(text)
    fitting = {name.rpartition("/")[0] for name in _files(root, "", []) if pattern.read(name)}

    def place(name: str) -> Held | Skipped | str:
        folder = name.rpartition("/")[0]
        if folder not in fitting and labels.split_of(folder.rpartition("/")[2]):
            return Skipped(name, "no label: no name in its folder fits download.pattern")
        return pattern.read(name) or f"{name!r} does not fit download.pattern = {text!r}; rename it or move it away"

    return place


def _by_folder(root: Path, problems: Problems) -> Place:
    """Read names by the folders below `root`; an empty class folder is a problem."""
    places = parts(root)
    unlabelled = {folder for folder, split in places.items() if split and not _folders(root, folder)}
    for folder in places:
        for inner in _folders(root, folder):
            if not any(entry for entry in _files(root, f"{folder}{inner}/", [])):
                problems.add(f"the class folder {folder + inner!r} is empty; fill or remove it")

    def place(name: str) -> Held | Skipped | str:
        folder = next((folder for folder in places if name.startswith(folder)), None)
        if folder in unlabelled:
            return Skipped(name, "no label: its folder has no class folders")
        label, slash, _ = name.removeprefix(folder or "").partition("/")
        if folder is None or not slash:
            return (
                f"{name!r} is a file where a folder named after a class is expected; move it into one, or away, or set "
                "download.pattern"
            )
        return Held(label, places[folder], "")

    return place


def _inner(root: Path, folder: str) -> str:
    """Return the folder that holds more than one folder, or one of images: a folder around everything says nothing."""
    while len(inside := _folders(root, folder)) == 1:
        below = f"{folder}{inside[0]}/"
        if not _folders(root, below) or labels.split_of(inside[0]):
            return folder
        folder = below
    return folder


class AmbiguousError(DataError):
    """Folders can be read in several ways."""

    def __init__(self, question: str, readings: list[Reading]) -> None:
        super().__init__(question)
        self.readings = readings


def parts(root: Path) -> dict[str, str]:
    """Return the split of each folder that states one, or {folder: ""} if the folders in that folder are classes.

    Folders are named from the root, with a slash at their end, or empty for the root itself.

    Raises:
        AmbiguousError: all folders hold the same folders, so either may be the classes.
        DataError: a folder is beside others that state a split.
    """
    top = _inner(root, "")
    tops = _folders(root, top)
    splits = {name: labels.split_of(name) for name in tops}
    if len(tops) > 1 and len({labels.without_split(name) for name in tops}) == 1:
        splits = {name: labels.word_of_split(name) for name in tops}
    stated = [name for name in tops if splits[name]]
    others = [name for name in tops if not splits[name]]
    if len({splits[name] for name in stated}) > 1 and others:
        raise DataError(
            f"{root / top / others[0]} is beside {' and '.join(stated)}, which state a split; move it away, or name it "
            "train, val or test."
        )
    if stated and not others:
        return {_inner(root, f"{top}{name}/"): splits[name] or "" for name in stated}
    inside = [set(_folders(root, f"{top}{name}/")) for name in tops]
    if len(tops) > 1 and len(inside[0]) > 1 and all(found == inside[0] for found in inside):
        raise AmbiguousError(
            f"the {len(tops)} folders in {root / top} all hold the same {len(inside[0])} folders",
            [
                Reading(f"the classes are {_two(tops)}", _with(f"{top}{{label}}/**"), {}),
                Reading(f"the classes are {_two(sorted(inside[0]))}", _with(f"{top}*/{{label}}/**"), {}),
                Reading(f"so they are, and {_two(tops)} are groups", _with(f"{top}{{group}}/{{label}}/**"), {}),
            ],
        )
    return {top: ""}


def _two(names: list[str]) -> str:
    return " and ".join(map(repr, names[:2])) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _with(pattern: str) -> dict[str, object]:
    return {"source": "folder", "pattern": pattern}


def _folders(root: Path, folder: str) -> list[str]:
    """Return the names of the folders in a folder, sorted."""
    with os.scandir(root / folder) as entries:
        found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in found if not names.is_hidden(name))


def _files(root: Path, folder: str, skipped: list[Skipped]) -> Iterator[str]:
    """Yield every file below a folder ("" or with a slash at its end); links to folders are not followed."""
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}{entry.name}"
            if names.is_hidden(entry.name):
                if entry.name not in kinds.UNLISTED and not entry.name.endswith(".dvc"):
                    skipped.append(Skipped(name, "hidden"))
            elif entry.is_dir(follow_symlinks=False):
                yield from _files(root, f"{name}/", skipped)
            else:
                yield name


def _report(path: Path, skipped: list[Skipped]) -> None:
    """Write skipped.csv, if there is anything to list, and say so."""
    if not skipped:
        return
    artifacts.write_rows(path, Skipped._fields, sorted(skipped))
    endings = Counter(Path(line.file).suffix or Path(line.file).name for line in skipped).most_common()
    shown = ", ".join(f"{count} {name}" for name, count in endings[:KINDS_SHOWN])
    more = f" and {len(endings) - KINDS_SHOWN} more kinds" if len(endings) > KINDS_SHOWN else ""
    warn(f"{len(skipped)} files beside the images are not used ({shown}{more}); {artifacts.RAW / SKIPPED} lists them.")


def _linked_folder(path: Path) -> str | None:
    return f"{str(path)!r} is a link to a folder; move the folder here" if path.is_dir() else None
