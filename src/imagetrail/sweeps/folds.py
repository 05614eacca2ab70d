"""The rows of cross-validation: train and validation rows dealt anew, what belongs together in one fold."""

from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from imagetrail import arrays, splits
from imagetrail.arrays import Subset
from imagetrail.errors import DataError


def subsets(root: Path, fold: int, folds: int, seed: int) -> tuple[Subset, Subset]:
    """(train, validation) of one fold; the test rows are in none.

    Args:
        root: the repository's root.
        fold: from 0.
        folds: how many there are; each row validates in one of them.
        seed: of the deal.

    Raises:
        DataError: a class has fewer rows than there are folds.
    """
    train, val = arrays.open_subset(root, "train"), arrays.open_subset(root, "val")
    rows = np.sort(np.concatenate([train.rows, val.rows]))
    labels, units = (values[rows] for values in splits.belonging(root))
    counts = np.bincount(labels, minlength=len(train.dataset.classes))
    if counts.min() < folds:
        raise DataError(
            f"the class {train.dataset.classes[counts.argmin()]!r} has {counts.min()} rows for train and validation, "
            f"too few for {folds} folds; take fewer."
        )
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    inside, outside = list(dealer.split(rows, labels, units))[fold]
    return Subset(train.dataset, train.images, train.labels, rows[inside]), Subset(
        train.dataset, train.images, train.labels, rows[outside]
    )
