"""Recognise images without a table: in class folders, or with labels in their names."""

from collections import Counter, defaultdict
from pathlib import Path

from imagetrail.download import folders, labels, series
from imagetrail.download.inventory import Inventory
from imagetrail.download.pattern import Pattern
from imagetrail.download.reading import Ask, Reading
from imagetrail.errors import DataError

PATTERNS = (
    "{label}.{number}.{ext}", "{label}_{number}.{ext}", "{label}-{number}.{ext}", "{label} ({number}).{ext}",
    "{label} {number}.{ext}", "{label}{number}.{ext}", "{label}_*.{ext}", "{label}-*.{ext}", "{label}.*.{ext}",
)  # fmt: skip
"""The ways in which names begin with labels, the stricter ones first."""
IMAGES_OF_A_LABEL = 3
"""Smallest mean number of images of a label that a pattern finds; with fewer, it reads identifiers for labels."""


def recognise(inventory: Inventory, ask: Ask) -> Reading:
    """Say how to read the images."""
    flat = _flat(inventory)
    if flat is not None:
        return flat
    try:
        parts = folders.parts(inventory.root)
    except folders.AmbiguousError as error:
        return ask(str(error), error.readings)
    stated = sorted({split for split in parts.values() if split})
    reasons = {"source": "images in class folders" + (f", below folders for {', '.join(stated)}" if stated else "")}
    options: dict[str, object] = {"source": "folder"}
    prefix = next(iter(parts)) if len(parts) == 1 else ""
    inside = [image.removeprefix(prefix).split("/") for image in inventory.images]
    if not stated and all(len(parts) == 2 for parts in inside):
        sign = series.separator((label, file) for label, file in inside)
        if sign is not None:
            options["pattern"] = f"{prefix}{{label}}/{{group}}{sign}{{number}}.{{ext}}"
            reasons["pattern"] = series.REASON
    return Reading("class folders", options, reasons, tuple(_odd(inventory, parts)))


def _flat(inventory: Inventory) -> Reading | None:
    """Recognise images whose names hold their labels, if none is in a class folder."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for image in inventory.images:
        by_folder[image.rpartition("/")[0]].append(image)
    inner = [folder for folder in by_folder if labels.split_of(folder.rpartition("/")[2]) is None and folder]
    if len(inner) > 1:
        return None
    for text in PATTERNS:
        fitting = {f: held for f, images in by_folder.items() if (held := _labels(text, images)) is not None}
        counts = Counter(label for held in fitting.values() for label in held)
        if not fitting.keys() >= set(inner) or ("" in by_folder and "" not in fitting):
            continue  # only a folder for a split may hold images without labels
        if len(counts) > 1 and counts.total() >= IMAGES_OF_A_LABEL * len(counts):
            stated = all(labels.split_of(folder.rpartition("/")[2]) for folder in by_folder)
            pattern = f"**/{text}" if any(by_folder) else text
            if stated:
                pattern = f"**/{{split}}/{text}"
            reason = f"names begin with {len(counts)} labels, such as {next(iter(counts))!r}"
            return Reading(
                "labels in names", {"source": "folder", "pattern": pattern},
                {"source": "images outside class folders", "pattern": reason},
            )  # fmt: skip
    raise DataError(
        f"the images in {inventory.root} are in no class folders, no table names them, and their names begin with no "
        "labels; sort them into class folders, or write a table: image,label."
    )


def _labels(text: str, images: list[str]) -> list[str] | None:
    """Return the label of each image, or None if a name does not fit."""
    pattern = Pattern(text)
    found = [pattern.read(image.rpartition("/")[2]) for image in images]
    return None if any(held is None for held in found) else [held.label for held in found if held is not None]


def _odd(inventory: Inventory, parts: dict[str, str]) -> list[str]:
    """Say what a person should look at."""
    stated = {split for split in parts.values() if split}
    found = []
    if stated and "test" not in stated:
        found.append("no folder states the test: it is drawn from the train images")
    if tables := inventory.tables:
        found.append(f"tables are beside the images, and none names them: {', '.join(tables[:3])}")
    suffixes = Counter(Path(image).suffix.lower() for image in inventory.images)
    if len(suffixes) > 1:
        found.append("several formats: " + ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5)))
    return found
