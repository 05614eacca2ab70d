"""relabel.csv in download.path: labels that a person corrected, and images that a person took out."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from imagetrail.errors import DataError, nearest, quoted
from imagetrail.files import artifacts
from imagetrail.files.artifacts import LabelRow

DROP = "drop"
"""In the place of a label: the image is left out."""
LINES_NAMED = 5
"""Largest number of wrong lines in a message."""


class Correction(NamedTuple):
    """A line of relabel.csv."""

    image: str
    """As data/raw/labels.csv names it."""
    label: str
    """The right label, or DROP."""
    reason: str


@dataclass(frozen=True)
class Corrections:
    """The lines of relabel.csv, none if there is no such file."""

    path: Path
    by_image: dict[str, Correction]

    @classmethod
    def read(cls, root: Path, name: str) -> Self:
        """Read the file.

        Args:
            root: the repository's root.
            name: see Download.corrections.

        Raises:
            DataError: it is not such a table, names an image twice, or is missing only from DVC's temporary copy.
        """
        path = root / name
        if not path.is_file():
            if (artifacts.workspace(root) / name).is_file():
                raise DataError(
                    f"{name} is missing from this temporary copy of the repository; `git add` it, or "
                    f"give `dvc exp run` the option --copy-paths {name}."
                )
            return cls(path, {})
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                header, *lines = [cells for cells in csv.reader(file, strict=True) if cells] or [[]]
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{path} cannot be read ({error}); save it as a CSV table in UTF-8.") from None
        if tuple(header) != Correction._fields or any(len(cells) != len(header) for cells in lines):
            raise DataError(f"{path} must have the columns {', '.join(Correction._fields)} in each line; correct it.")
        found = [Correction(image, label.strip(), reason) for image, label, reason in lines]
        image, count = Counter(one.image for one in found).most_common(1)[0] if found else ("", 0)
        if count > 1:
            raise DataError(f"{path} names {quoted(image)} {count} times; keep one line for it.")
        if empty := [one.image for one in found if not one.label]:
            raise DataError(f"{path} gives {quoted(empty[0])} no label; give one, or {DROP}.")
        return cls(path, {one.image: one for one in found})

    @property
    def counts(self) -> dict[str, int]:
        """Return how many images get another label, and how many are left out; empty without corrections."""
        if not self.by_image:
            return {}
        dropped = sum(one.label == DROP for one in self.by_image.values())
        return {"relabelled": len(self.by_image) - dropped, "dropped": dropped}

    def apply(self, rows: Iterable[LabelRow]) -> Iterator[LabelRow]:
        """Yield the rows with their corrected labels, without those that are dropped.

        Raises:
            DataError: after the last row: a line names an image that is not there, or a class that no image has.
        """
        stated, seen = set[str](), set[str]()
        for row in rows:
            stated.add(row.label)
            correction = self.by_image.get(row.image)
            if correction is not None:
                seen.add(row.image)
                if correction.label == DROP:
                    continue
                row = row._replace(label=correction.label)
            yield row
        if problems := list(self._problems(stated, seen)):
            more = f", and {len(problems) - LINES_NAMED} more" if problems[LINES_NAMED:] else ""
            raise DataError(f"{self.path}: {'; '.join(problems[:LINES_NAMED])}{more}.")

    def _problems(self, stated: set[str], seen: set[str]) -> Iterator[str]:
        if DROP in stated and any(one.label == DROP for one in self.by_image.values()):
            yield f"{DROP} leaves an image out, and the data has a class of this name; rename it by download.classes"
        for one in self.by_image.values():
            if one.image not in seen:
                yield f"no image is named {quoted(one.image)}; take names from data/raw/labels.csv"
            elif one.label != DROP and one.label not in stated:
                yield f"no image is {quoted(one.label)}; {nearest(one.label, stated).rstrip('.')}"
