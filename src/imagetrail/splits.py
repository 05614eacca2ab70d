"""Which rows train, which choose, which test: stratified, private in its randomness, duplicates always on one side."""

from array import array
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagetrail import arrays, artifacts
from imagetrail.arrays import Indices
from imagetrail.errors import DataError
from imagetrail.params import Split

Keys = npt.NDArray[np.uint64]


def stratified_split(
    labels: Indices, groups: Keys, share: float, seed: int, classes: list[str]
) -> tuple[Indices, Indices]:
    """Choose rows class by class; rows of one group stay together.

    Args:
        labels: int64 [N], class index of each row.
        groups: uint64 [N], equal where rows must stay on one side; a group lies within one class.
        share: share of each class to choose, in (0, 1).
        seed: seeds a private generator; no global random state is read or set.
        classes: names, for the message.

    Returns:
        (rest, chosen): sorted int64 positions, disjoint, together 0..N-1; both hold every class.

    Raises:
        DataError: a class has one group only, so one side would lack it.
    """
    generator = np.random.default_rng(seed)
    taken = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        # Groups in order of first appearance, so that the draw does not depend on the keys' values.
        _, first, inverse, sizes = np.unique(groups[rows], return_index=True, return_inverse=True, return_counts=True)
        if len(sizes) < 2:
            raise DataError(
                f"the class {classes[label]!r} has one distinct image, so train or test would lack it; add images "
                "or drop the class."
            )
        rank = np.argsort(first)[generator.permutation(len(first))]
        filled = np.cumsum(sizes[rank])
        count = int(np.abs(filled - share * len(rows)).argmin()) + 1
        chosen = np.zeros(len(sizes), dtype=bool)
        chosen[rank[: min(count, len(sizes) - 1)]] = True
        taken[rows] = chosen[inverse]
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def split_rows(root: Path, options: Split) -> dict[arrays.Rows, Indices]:
    """The rows of data/tensors for train, val and test.

    A split that the data states is kept: its test rows are the test; rows marked val are the validation, which is
    otherwise drawn from the train rows. Where none is stated, `options.test` of each class is drawn.

    Raises:
        DataError: a stated split is incomplete, or leaves train or test without rows; a class is too small.
    """
    dataset = artifacts.read_dataset(root)
    codes = {name: code for code, name in enumerate(dataset.classes)}
    label_array, key_array, stated = array("q"), array("Q"), bytearray()
    order = ("", "train", "val", "test")
    for row in artifacts.read_tensor_rows(root):
        label_array.append(codes[row.label])
        key_array.append(int(row.pixel_sha256[:16], 16))
        stated.append(order.index(row.split))
    labels, groups = np.asarray(label_array), np.asarray(key_array)
    parts = np.frombuffer(stated, np.uint8)

    def draw(rows: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
        rest, chosen = stratified_split(labels[rows], groups[rows], share, seed, dataset.classes)
        return rows[rest], rows[chosen]

    if not parts.any():
        train, test = draw(np.arange(len(labels)), options.test, options.seed)
        val = np.array([], np.int64)
    else:
        train, val, test = (np.flatnonzero(parts == order.index(name)) for name in ("train", "val", "test"))
        if len(train) + len(val) + len(test) < len(labels):
            raise DataError(
                f"{int((parts == 0).sum())} rows of a split that the data states say nothing; fill them in."
            )
        if not len(train) or not len(test):
            empty = "test" if len(train) else "train"
            raise DataError(f"the split that the data states has no {empty} rows; mark some, or leave the column out.")
    if not len(val) and options.val > 0:
        train, val = draw(train, options.val, options.seed + 1)
    return {"train": train, "val": val, "test": test}
