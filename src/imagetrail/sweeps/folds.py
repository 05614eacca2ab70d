"""Deal train and validation rows into folds; rows that belong together are in one fold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from imagetrail.errors import DataError
from imagetrail.files import arrays
from imagetrail.files.arrays import Subset
from imagetrail.params.split import Split
from imagetrail.split import splits


@dataclass(frozen=True)
class Fold:
    """One of the parts that validate in turn; as text `1/3` for the first of three."""

    index: int
    """From 0."""
    of: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse the fold that a run's tag names."""
        number, _, of = text.partition("/")
        return cls(int(number) - 1, int(of))

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.of}"


def subsets(root: Path, fold: int, folds: int, options: Split) -> tuple[Subset, Subset]:
    """Return (train, validation) of one fold; the test rows are in none.

    Args:
        root: the repository's root.
        fold: from 0.
        folds: how many there are; each row validates in one of them.
        options: section `split` of params.yaml.

    Raises:
        DataError: a class has fewer rows than there are folds.
    """
    train, val = arrays.open_subset(root, "train"), arrays.open_subset(root, "val")
    rows = np.sort(np.concatenate([train.rows, val.rows]))
    labels, units = (values[rows] for values in splits.belonging(root, options))
    counts = np.bincount(labels, minlength=len(train.dataset.classes))
    if counts.min() < folds:
        raise DataError(
            f"the class {train.dataset.classes[counts.argmin()]!r} has {counts.min()} rows for train and validation, "
            f"too few for {folds} folds; take fewer."
        )
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=options.seed % 2**32)
    inside, outside = list(dealer.split(rows, labels, units))[fold]
    return Subset(train.dataset, train.images, train.labels, rows[inside]), Subset(
        train.dataset, train.images, train.labels, rows[outside]
    )
