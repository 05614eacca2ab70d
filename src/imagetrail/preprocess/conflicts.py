"""Find equal images with different labels: at least one of the labels is wrong, and nobody can tell which."""

from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imagetrail.console import warn
from imagetrail.files import artifacts

CONFLICTS = Path("data/conflicts.csv")
"""The list of a failing preprocess: outside DVC's outputs, so that `dvc checkout` restores those without asking."""
CONFLICTS_SHOWN = 20


class Conflict(NamedTuple):
    """A line of conflicts.csv: an image, and one with the same pixels and another label."""

    image: str
    label: str
    other: str
    other_label: str
    place: str = ""
    """Line of the user's table; empty if the labels come from folders."""
    other_place: str = ""

    def text(self) -> str:
        """Name both images for a message."""
        ours, theirs = (f" ({place})" if place else "" for place in (self.place, self.other_place))
        return f"{self.image!r}{ours} is {self.label!r}, {self.other!r}{theirs} is {self.other_label!r}"


def find(folder: Path) -> list[Conflict]:
    """List every image of the rows.csv in `folder` that has the pixels of one with another label."""
    codes: dict[str, int] = {}
    keys, labels = array("Q"), array("q")
    for row in artifacts.tensor_rows(folder):
        keys.append(int(row.pixel_sha256[:16], 16))
        labels.append(codes.setdefault(row.label, len(codes)))
    suspects = _with_two_labels(np.asarray(keys), np.asarray(labels))
    if not suspects:
        return []
    groups: dict[str, list[artifacts.TensorRow]] = {}
    for row in artifacts.tensor_rows(folder):
        if int(row.pixel_sha256[:16], 16) in suspects:
            groups.setdefault(row.pixel_sha256, []).append(row)
    found = []
    for rows in groups.values():
        for row in rows:
            other = next((candidate for candidate in rows if candidate.label != row.label), None)
            if other is not None:
                found.append(Conflict(row.image, row.label, other.image, other.label))
    return sorted(found)


def _with_two_labels(keys: np.ndarray, labels: np.ndarray) -> set[int]:
    """Return the keys (64 bits of a sha256) that have different labels."""
    order = np.lexsort((labels, keys))
    keys, labels = keys[order], labels[order]
    return {int(key) for key in keys[1:][(keys[1:] == keys[:-1]) & (labels[1:] != labels[:-1])]}


def refusal(root: Path, found: list[Conflict]) -> str | None:
    """Write data/conflicts.csv and name the images; None if there are none."""
    if not found:
        (root / CONFLICTS).unlink(missing_ok=True)
        return None
    found = _placed(root, found)
    artifacts.write_rows(root / CONFLICTS, Conflict._fields, found)
    shown = "\n  ".join(conflict.text() for conflict in found[:CONFLICTS_SHOWN])
    more = f"\n  and {len(found) - CONFLICTS_SHOWN} more" if len(found) > CONFLICTS_SHOWN else ""
    return (
        f"{len(found)} images have the pixels of one with another label ({CONFLICTS} lists them); correct the labels, "
        f"or set preprocess.on_conflict to drop, which leaves all of them out:\n  {shown}{more}"
    )


def _placed(root: Path, found: list[Conflict]) -> list[Conflict]:
    """Add the lines of the user's table."""
    names = {conflict.image for conflict in found}
    places = {line.image: line.place for line in artifacts.read_lines(root) if line.image in names}
    return [
        conflict._replace(place=places.get(conflict.image, ""), other_place=places.get(conflict.other, ""))
        for conflict in found
    ]


def leave_out(folder: Path, found: list[Conflict]) -> None:
    """Write conflicts.csv into the folder of the tensors, and warn."""
    artifacts.write_rows(folder / CONFLICTS.name, Conflict._fields[:4], [conflict[:4] for conflict in found])
    warn(
        f"{len(found)} images are left out, as equal ones have other labels; data/tensors/{CONFLICTS.name} lists them."
    )
