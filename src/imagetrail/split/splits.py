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
    otherwise drawn from the train rows, as is a test that it lacks. Where none is stated, `options.test` of the rows is
    drawn.

    Raises:
        DataError: a stated split has no train rows, or rows without a side; classes are too small and `on_rare` is
            fail; images are on two sides and `on_leak` is fail, and data/leaks.csv then lists them.
    """
    dataset = artifacts.read_dataset(root)
    near = near_pairs(root, dataset, options.group_near_duplicates)
    table = _read(root, dataset.classes, options, near if options.group_near_duplicates else near[:0])
    sides = _stated(table, dataset.classes) if table.stated.any() else np.zeros(len(table.labels), np.int64)
    draws_test, draws_val = not (sides == 2).any(), not (sides == 1).any() and options.val > 0
    rare = _rare(table, np.flatnonzero(sides == 0), 1 + draws_test + draws_val, options, dataset.classes)
    if options.on_rare == "drop":
        sides[rare] = -1
    if draws_test:
        if table.stated.any():
            warn(
                f"the split that the data states has no test rows: split.test = {options.test:g} of its train rows are "
                "the test."
            )
        rows = np.flatnonzero((sides == 0) & ~rare)
        sides[rows[_draw(table, rows, options, 0, dataset.classes)]] = 2
    sides, leaks = _without_leaks(root, table, sides, options)
    if draws_val:
        rows = np.flatnonzero((sides == 0) & ~rare)
        sides[rows[_draw(table, rows, options, 1, dataset.classes)]] = 1
        sides, more = _without_leaks(root, table, sides, options)
        leaks += more
    one, other = sides[near].T
    if crossing := int(((one >= 0) & (other >= 0) & (one != other)).sum()):
        warn(
            f"{crossing} images are on another side of the split than a near copy; set split.group_near_duplicates to "
            "true to keep these together."
        )
    return {name: np.flatnonzero(sides == number) for number, name in enumerate(SIDES)}, leaks


def near_pairs(root: Path, dataset: artifacts.Dataset, is_needed: bool) -> Indices:
    """Return int64 [n,2]: the rows of data/tensors that preprocess found to be near copies of each other.

    Raises:
        DataError: they are needed, and preprocess had too many images to look for them.
    """
    count = dataset.findings.get("near duplicate")
    if is_needed and count is None:
        raise DataError(
            f"split.group_near_duplicates = True cannot be held: {dataset.shape[0]:,} images are too many for "
            "preprocess to compare; set it to false."
        )
    if not count:
        return np.empty((0, 2), np.int64)
    pairs = [(found.image, found.other) for found in artifacts.read_findings(root) if found.kind == "near duplicate"]
    names = {name for pair in pairs for name in pair}
    rows = {row.image: number for number, row in enumerate(artifacts.read_tensor_rows(root)) if row.image in names}
    return np.array([[rows[one], rows[other]] for one, other in pairs], np.int64).reshape(-1, 2)


def _rare(table: Table, rows: Indices, needed: int, options: Split, classes: list[str]) -> npt.NDArray[np.bool_]:
    """Mark the rows [N] of classes that have fewer units among `rows` than sides need one of.

    Raises:
        DataError: there are any, and `on_rare` is fail.
    """
    labels = table.labels[rows]
    pairs = np.unique(np.stack([labels, table.units[rows]]), axis=1)
    counts = np.bincount(pairs[0], minlength=len(classes))
    present = np.bincount(labels, minlength=len(classes)) > 0
    small = np.flatnonzero(present & (counts < needed))
    if not len(small):
        return np.zeros(len(table.labels), bool)
    few = {1: "one distinct image or group", 2: "two distinct images or groups"}
    named = ", ".join(f"{classes[code]!r} has {few[counts[code]]}" for code in small[:CLASSES_NAMED])
    more = f" and {len(small) - CLASSES_NAMED} more" if len(small) > CLASSES_NAMED else ""
    if options.on_rare == "fail":
        raise DataError(
            f"{len(small)} classes are too small, as each needs {needed} for its sides of the split: {named}{more}; "
            "add images, or set split.on_rare to train, which only trains on them, or to drop."
        )
    fate = "only trained on" if options.on_rare == "train" else "left out"
    warn(f"{len(small)} classes are too small for all sides of the split and are {fate}: {named}{more}.")
    return np.isin(table.labels, small) & (np.bincount(rows, minlength=len(table.labels)) > 0)


def belonging(root: Path, options: Split) -> tuple[Indices, Indices]:
    """Return (labels, units) of every row of data/tensors, both int64 [N]; equal units belong together. See Table."""
    dataset = artifacts.read_dataset(root)
    near = near_pairs(root, dataset, True) if options.group_near_duplicates else np.empty((0, 2), np.int64)
    table = _read(root, dataset.classes, options, near)
    return table.labels, table.units


def _read(root: Path, classes: list[str], options: Split, near: Indices) -> Table:
    codes = {name: code for code, name in enumerate(classes)}
    orders = ("", *SIDES)
    labels, pixels, groups, stated, draws = array("q"), array("Q"), array("Q"), bytearray(), array("d")
    for row in artifacts.read_tensor_rows(root):
        labels.append(codes[row.label])
        pixels.append(int(row.pixel_sha256[:16], 16))
        groups.append(_number(row.group) if row.group else 0)
        stated.append(orders.index(row.split))
        if options.by == "hash":
            # Nothing but the row itself decides, so that it stays where it is when others come.
            text = f"group {row.group}" if row.group else row.pixel_sha256
            draws.extend(_number(f"{options.seed + part} {text}") / 2**64 for part in (0, 1))
    return Table(
        labels=np.asarray(labels),
        units=_units(np.asarray(pixels), np.asarray(groups), near),
        stated=np.frombuffer(stated, np.uint8),
        draws=np.asarray(draws).reshape(-1, 2),
    )


def _number(text: str) -> int:
    """Return 64 bits of a text's sha256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _units(pixels: Keys, groups: Keys, near: Indices) -> Indices:
    """Label rows that belong together: the connected components of equal pixels, equal groups and near copies.

    Args:
        pixels: uint64 [N], equal where the pixels are.
        groups: uint64 [N]; 0 means no group.
        near: int64 [n,2], rows of near copies.
    """
    _, same_pixels = np.unique(pixels, return_inverse=True)
    if not groups.any() and not len(near):
        return same_pixels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    grouped = np.flatnonzero(groups)
    _, same_group = np.unique(groups[grouped], return_inverse=True)
    pictures = int(same_pixels.max()) + 1
    size = pictures + int(same_group.max(initial=-1)) + 1
    begins = np.concatenate([same_pixels[grouped], same_pixels[near[:, 0]]])
    ends = np.concatenate([pictures + same_group, same_pixels[near[:, 1]]])
    graph = coo_array((np.ones(len(begins), np.int8), (begins, ends)), (size, size))
    components: Indices = connected_components(graph, directed=False)[1]
    return components[same_pixels].astype(np.int64)


def _stated(table: Table, classes: list[str]) -> Indices:
    """Return the side of each row, as the data states it."""
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
    if (sides == 2).any() and (named := _absent(table, sides == 2, classes)):
        warn(f"the split that the data states has no test rows of {named}.")
    return sides


def _absent(table: Table, chosen: npt.NDArray[np.bool_], classes: list[str]) -> str:
    """Name the classes without a chosen row; empty if there are none."""
    absent = np.setdiff1d(np.arange(len(classes)), table.labels[chosen])
    more = f" and {len(absent) - CLASSES_NAMED} more" if len(absent) > CLASSES_NAMED else ""
    return ", ".join(repr(classes[code]) for code in absent[:CLASSES_NAMED]) + more


def _draw(table: Table, rows: Indices, options: Split, part: int, classes: list[str]) -> Indices:
    """Return the positions in `rows` that are chosen; part 0 chooses the test, part 1 the validation."""
    share = (options.test, options.val)[part]
    labels = table.labels[rows]
    if options.by != "hash":
        return stratified_split(labels, table.units[rows], share, options.seed + part, classes)[1]
    chosen = table.draws[rows, part] < share
    for label in np.unique(labels):
        if len(np.unique(chosen[labels == label])) < 2:
            raise DataError(
                f"split.by = 'hash' puts all images of the class {classes[label]!r} on one side; add images, or set "
                "split.by to stratified."
            )
    return np.flatnonzero(chosen)


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
