"""Draw rows class by class, so that each class has its share on both sides."""

from typing import Any

import numpy as np
import numpy.typing as npt

from imagetrail.errors import DataError
from imagetrail.files.arrays import Indices

Units = npt.NDArray[np.integer[Any]]


def stratified_split(
    labels: Indices, units: Units, share: float, seed: int, classes: list[str]
) -> tuple[Indices, Indices]:
    """Choose rows class by class; rows of one unit stay together.

    Args:
        labels: int64 [N], class index of each row.
        units: integers [N], equal where rows must stay on one side.
        share: share of each class to choose, in (0, 1).
        seed: seeds a private generator; no global random state is read or set.
        classes: names, for the message.

    Returns:
        (rest, chosen): sorted int64 positions, disjoint, together 0..N-1; both hold every class.

    Raises:
        DataError: a class has one unit only, so one side would lack it; or units of several classes leave no way to
            give it to both.
    """
    generator = np.random.default_rng(seed)
    _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    if (labels == labels[first][inverse]).all():
        chosen = _class_by_class(labels, units, share, generator, classes)
    else:
        chosen = _unit_by_unit(labels, inverse, share, generator, classes)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _class_by_class(
    labels: Indices,
    units: Units,
    share: float,
    generator: np.random.Generator,
    classes: list[str],
) -> npt.NDArray[np.bool_]:
    """Choose units that are each within one class, as near to the share of each class as they allow."""
    taken = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        # Units in order of first appearance, so that the draw does not depend on their numbers.
        _, first, inverse, sizes = np.unique(units[rows], return_index=True, return_inverse=True, return_counts=True)
        if len(sizes) < 2:
            raise DataError(
                f"the class {classes[label]!r} has one distinct image or group, so train or test would lack it; add "
                "images or drop the class."
            )
        rank = np.argsort(first)[generator.permutation(len(first))]
        filled = np.cumsum(sizes[rank])
        count = int(np.abs(filled - share * len(rows)).argmin()) + 1
        chosen = np.zeros(len(sizes), dtype=bool)
        chosen[rank[: min(count, len(sizes) - 1)]] = True
        taken[rows] = chosen[inverse]
    return taken


def _unit_by_unit(
    labels: Indices, units: Indices, share: float, generator: np.random.Generator, classes: list[str]
) -> npt.NDArray[np.bool_]:
    """Choose units of several classes: in random order, move each where that brings all classes nearer to their share.

    Repeated until nothing moves; every move lowers the sum of squared distances, relative to each class's size.
    """
    _, labels = np.unique(labels, return_inverse=True)
    counts = np.zeros((int(units.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (units, labels), 1)
    totals = counts.sum(axis=0)
    order = generator.permutation(len(counts))
    chosen, held, moved = np.zeros(len(counts), bool), np.zeros(len(totals)), True
    distance = len(totals) * share**2
    while moved:
        moved = False
        for unit in order:
            after = held - counts[unit] if chosen[unit] else held + counts[unit]
            if (new := float(np.square((after - share * totals) / totals).sum())) < distance:
                chosen[unit], held, distance, moved = not chosen[unit], after, new, True
    if lacking := np.flatnonzero((held == 0) | (held == totals)).tolist():
        raise DataError(
            f"the class {classes[lacking[0]]!r} is in so few groups that train or test would lack it; add groups, or "
            "split otherwise."
        )
    return chosen[units]
