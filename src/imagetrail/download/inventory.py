"""Take stock of a folder: its images, tables and archives, by name."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from imagetrail.download import kinds, names
from imagetrail.params.download import CORRECTIONS

TABLES = (".csv", ".tsv", ".txt", ".tab")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


@dataclass
class Inventory:
    """The files below a folder, by their names from it, sorted."""

    root: Path
    images: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    json: list[str] = field(default_factory=list)
    parquet: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path) -> "Inventory":
        """Walk a folder; hidden files and links to folders are left out."""
        inventory = cls(root)
        for name in sorted({*_files(root, "")} - {CORRECTIONS}):
            lower = name.lower()
            if lower.endswith(ARCHIVES):
                inventory.archives.append(name)
            elif lower.endswith(TABLES):
                inventory.tables.append(name)
            elif lower.endswith(".json"):
                inventory.json.append(name)
            elif lower.endswith(".parquet"):
                inventory.parquet.append(name)
            elif kinds.is_image(root / name):
                inventory.images.append(name)
            else:
                inventory.others.append(name)
        return inventory

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """The images by their last part."""
        return _grouped((image.rpartition("/")[2], image) for image in self.images)

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """The images by their last part without its suffix."""
        return _grouped((Path(image).stem, image) for image in self.images)

    @cached_property
    def suffix(self) -> str:
        """The most frequent suffix of images."""
        return Counter(Path(image).suffix for image in self.images).most_common(1)[0][0] if self.images else ""


def _grouped(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, image in pairs:
        groups.setdefault(key, []).append(image)
    return groups


def _files(root: Path, folder: str) -> Iterator[str]:
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}{entry.name}"
            if names.is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(root, f"{name}/")
            elif entry.is_file():
                yield name
