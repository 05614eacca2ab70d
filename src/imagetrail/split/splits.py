"""Split the rows into train, validation and test; groups and duplicates stay on one side."""

import hashlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagetrail.console import warn
from imagetrail.errors import DataError
from imagetrail.files import arrays, artifacts
from imagetrail.files.arrays import Indices
from imagetrail.params.split import Split
from imagetrail.split.stratified import stratified_split

Keys = npt.NDArray[np.uint64]
SIDES: tuple[arrays.Rows, ...] = ("train", "val", "test")
LEAKS = Path("data/leaks.csv")
"""The list that a failing split writes: outside DVC's outputs, so that `dvc checkout` restores those without asking."""
CLASSES_NAMED = 5
LEAKS_SHOWN = 20


class Leak(NamedTuple):
    """A line of leaks.csv: an image on another side of the split than one that it belongs with."""

    image: str
    side: str
    other: str
    """An image with the same pixels, or of the same group."""
    other_side: str


@dataclass(frozen=True)
class Table:
    """Properties of each row of data/tensors that the split uses."""

    labels: Indices
    """int64 [N], class index."""
    units: Indices
    """int64 [N], equal where rows belong together: the same pixels, or the same group, or both by way of a third."""
    stated: npt.NDArray[np.uint8]
    """uint8 [N]: 0 if the data states no side, else 1 + an index into SIDES."""
    draws: npt.NDArray[np.float64]
    """float64 [N, 2], in [0, 1): for `hash`, the draws for test and for validation; equal for equal groups, or for
    equal pixels where there is no group."""


def split_rows(root: Path, options: Split) -> tuple[dict[arrays.Rows, Indices], list[Leak]]:
    """Choose the rows of data/tensors for train, val and test, and list the images that were on two sides.

    A split that the data states is kept: its test rows are the test; rows marked val are the validation, which is
    otherwise drawn from the train rows. Where none is stated, `options.test` of the rows is drawn.

    Raises:
        DataError: a stated split is incomplete, or leaves train or test without rows; a class is too small; images
            are on two sides and `on_leak` is fail, and data/leaks.csv then lists them.
    """
    dataset = artifacts.read_dataset(root)
    table = _read(root, dataset.classes, options)
    if table.stated.any():
        sides = _stated(table, options, dataset.classes)
    else:
        sides = _draw(table, np.arange(len(table.labels)), options, 0, dataset.classes)
    sides, leaks = _without_leaks(root, table, sides, options)
    if not (sides == 1).any() and options.val > 0:
        train = np.flatnonzero(sides == 0)
        drawn = _draw(table, train, options, 1, dataset.classes)
        sides[train[drawn == 2]] = 1
        sides, more = _without_leaks(root, table, sides, options)
        leaks += more
    return {name: np.flatnonzero(sides == number) for number, name in enumerate(SIDES)}, leaks


def belonging(root: Path) -> tuple[Indices, Indices]:
    """Return (labels, units) of every row of data/tensors, both int64 [N]; equal units belong together. See Table."""
    table = _read(root, artifacts.read_dataset(root).classes, None)
    return table.labels, table.units


def _read(root: Path, classes: list[str], options: Split | None) -> Table:
    codes = {name: code for code, name in enumerate(classes)}
    orders = ("", *SIDES)
    labels, pixels, groups, stated, draws = array("q"), array("Q"), array("Q"), bytearray(), array("d")
    for row in artifacts.read_tensor_rows(root):
        labels.append(codes[row.label])
        pixels.append(int(row.pixel_sha256[:16], 16))
        groups.append(_number(row.group) if row.group else 0)
        stated.append(orders.index(row.split))
        if options is not None and options.by == "hash":
            # Nothing but the row itself decides, so that it stays where it is when others come.
            text = f"group {row.group}" if row.group else row.pixel_sha256
            draws.extend(_number(f"{options.seed + part} {text}") / 2**64 for part in (0, 1))
    return Table(
        labels=np.asarray(labels),
        units=_units(np.asarray(pixels), np.asarray(groups)),
        stated=np.frombuffer(stated, np.uint8),
        draws=np.asarray(draws).reshape(-1, 2),
    )


def _number(text: str) -> int:
    """Return 64 bits of a text's sha256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _units(pixels: Keys, groups: Keys) -> Indices:
    """Label rows that belong together: the connected components of equal pixels and equal groups; 0 means no group."""
    _, same_pixels = np.unique(pixels, return_inverse=True)
    if not groups.any():
        return same_pixels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    grouped = np.flatnonzero(groups)
    _, same_group = np.unique(groups[grouped], return_inverse=True)
    size = int(same_pixels.max() + 1 + same_group.max() + 1)
    edges = (same_pixels[grouped], same_pixels.max() + 1 + same_group)
    graph = coo_array((np.ones(len(grouped), np.int8), edges), (size, size))
    components: Indices = connected_components(graph, directed=False)[1]
    return components[same_pixels].astype(np.int64)


def _stated(table: Table, options: Split, classes: list[str]) -> Indices:
    """Return the side of each row, as the data states it; a test that it lacks is drawn from its train rows."""
    if missing := int((table.stated == 0).sum()):
        raise DataError(f"the data states a split, but {missing} rows have none; fill them in.")
    sides = table.stated.astype(np.int64) - 1
    if not (sides == 0).any():
        raise DataError(
            "the split that the data states has no train rows; state some in a folder train/ or in "
            "download.split_column, or state no split at all."
        )
    if named := _absent(table, sides == 0, classes):
        raise DataError(
            f"the split that the data states has no train rows of {named}; add some, or leave the class out."
        )
    if not (sides == 2).any():
        train = np.flatnonzero(sides == 0)
        sides[train[_draw(table, train, options, 0, classes) == 2]] = 2
        warn(
            f"the split that the data states has no test rows: split.test = {options.test:g} of its train rows are the "
            "test."
        )
    elif named := _absent(table, sides == 2, classes):
        warn(f"the split that the data states has no test rows of {named}.")
    return sides


def _absent(table: Table, chosen: npt.NDArray[np.bool_], classes: list[str]) -> str:
    """Name the classes without a chosen row; empty if there are none."""
    absent = np.setdiff1d(np.arange(len(classes)), table.labels[chosen])
    more = f" and {len(absent) - CLASSES_NAMED} more" if len(absent) > CLASSES_NAMED else ""
    return ", ".join(repr(classes[code]) for code in absent[:CLASSES_NAMED]) + more


def _draw(table: Table, rows: Indices, options: Split, part: int, classes: list[str]) -> Indices:
    """Return 2 for each of `rows` that is chosen, else 0; part 0 chooses the test, part 1 the validation."""
    share = (options.test, options.val)[part]
    labels = table.labels[rows]
    if options.by == "hash":
        chosen = table.draws[rows, part] < share
        for label in np.unique(labels):
            if len(np.unique(chosen[labels == label])) < 2:
                raise DataError(
                    f"split.by = 'hash' puts all images of the class {classes[label]!r} on one side; add images, or "
                    "set split.by to stratified."
                )
    else:
        for label in np.unique(labels) if part == 1 else ():
            if len(np.unique(table.units[rows[labels == label]])) < 2:
                raise DataError(
                    f"the class {classes[label]!r} has one image or group beside its test rows, and train and val need "
                    "one each; add images, drop the class, or set split.val to 0."
                )
        chosen = np.zeros(len(rows), bool)
        chosen[stratified_split(labels, table.units[rows], share, options.seed + part, classes)[1]] = True
    return np.where(chosen, 2, 0)


def _without_leaks(root: Path, table: Table, sides: Indices, options: Split) -> tuple[Indices, list[Leak]]:
    """Return the sides, -1 for rows that are left out because what they belong with is on a later side."""
    last = np.full(table.units.max() + 1, -1)
    np.maximum.at(last, table.units, sides)
    leaking = np.flatnonzero((sides >= 0) & (sides < last[table.units]))
    if not len(leaking):
        (root / LEAKS).unlink(missing_ok=True)
        return sides, []
    leaks = _name(root, table, sides, last, leaking)
    if options.on_leak == "fail":
        artifacts.write_rows(root / LEAKS, Leak._fields, leaks)
        shown = "\n  ".join(f"{a!r} ({side}) belongs with {b!r} ({other})" for a, side, b, other in leaks[:LEAKS_SHOWN])
        raise DataError(
            f"{len(leaks)} images are on another side of the split than one with the same pixels or group; {LEAKS} "
            f"lists them. Correct the split, or set split.on_leak to drop, which leaves them out:\n  {shown}"
        )
    (root / LEAKS).unlink(missing_ok=True)
    warn(f"{len(leaks)} images are left out: one with the same pixels or group is in test or val.")
    return np.where(sides < last[table.units], -1, sides), leaks


def _name(root: Path, table: Table, sides: Indices, last: Indices, leaking: Indices) -> list[Leak]:
    """Name the leaking rows by their images, each with one that it belongs with."""
    units = np.unique(table.units[leaking])
    kept = np.flatnonzero(np.isin(table.units, units) & (sides == last[table.units]))
    partner = dict(zip(table.units[kept].tolist(), kept.tolist(), strict=True))
    names = artifacts.image_names(root, [*leaking.tolist(), *partner.values()])
    leaks = []
    for number in leaking.tolist():
        other = partner[int(table.units[number])]
        leaks.append(Leak(names[number], SIDES[sides[number]], names[other], SIDES[sides[other]]))
    return leaks
