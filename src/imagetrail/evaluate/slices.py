"""Measure a model on slices of the test rows: the images of one camera, one site, one range of ages."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from imagetrail.evaluate import paired, replicates

MOST = 40
"""Largest number of slices of a column; rarer values than the most frequent ones share a slice."""
RARE, EMPTY = "(other values)", "(empty)"
RANGES = 4
"""Ranges of equal counts into which a column of numbers is cut if it has more values than MOST."""


@dataclass(frozen=True)
class Slice:
    """The accuracy on the images that have one value in a column."""

    column: str
    value: str
    n: int
    accuracy: float
    low: float
    """Lower end of Wilson's interval of paired.LEVEL."""
    high: float
    p_value: float
    """Of Fisher's exact test of whether the model is less accurate here than on the other images, with Holm's
    correction for all slices of all columns."""


def measure(columns: Mapping[str, Sequence[str]], correct: npt.NDArray[np.bool_]) -> list[Slice]:
    """Measure every slice, the least accurate first.

    Args:
        columns: the values of each column, one for each image.
        correct: bool [n], whether each answer is right.
    """
    parts = [(name, value, rows) for name, values in columns.items() for value, rows in _parts(values)]
    corrected = replicates.holm([_less(correct[rows], correct[~rows]) for _, _, rows in parts])
    found = [
        Slice(name, value, int(rows.sum()), *paired.wilson(correct[rows]), p_value)
        for (name, value, rows), p_value in zip(parts, corrected, strict=True)
    ]
    return sorted(found, key=lambda one: (one.p_value, one.accuracy, one.column, one.value))


def figures(found: Sequence[Slice]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the part of metrics/test.json: figures by column and value."""
    columns: dict[str, dict[str, dict[str, float]]] = {}
    for one in found:
        values = {name: value for name, value in asdict(one).items() if name not in ("column", "value")}
        columns.setdefault(one.column, {})[one.value] = values
    return columns


def _parts(values: Sequence[str]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Return the rows of each slice of a column, bool [n]."""
    cells = np.array([value or EMPTY for value in values])
    counts = Counter(cells.tolist())
    if len(counts) > MOST:
        numbers = _numbers(cells)
        if numbers is not None:
            return _ranges(numbers)
        frequent = {value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: MOST - 1]}
        cells = np.array([value if value in frequent else RARE for value in cells.tolist()])
    return [(value, cells == value) for value in sorted(set(cells.tolist()))]


def _numbers(cells: npt.NDArray[np.str_]) -> npt.NDArray[np.float64] | None:
    """Return the cells as numbers, NaN for empty ones; None if one is neither."""
    try:
        found = np.array([np.nan if cell == EMPTY else float(cell) for cell in cells.tolist()])
    except ValueError:
        return None
    return found if np.isfinite(found[cells != EMPTY]).all() else None


def _ranges(numbers: npt.NDArray[np.float64]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    known = ~np.isnan(numbers)
    ends = np.unique(np.quantile(numbers[known], np.linspace(0, 1, RANGES + 1), method="inverted_cdf"))
    found = []
    for low, high in pairwise(ends.tolist()):
        first = low == ends[0]
        rows = known & (numbers <= high) & ((numbers >= low) if first else (numbers > low))
        found.append((f"{'' if first else 'over '}{low:g} to {high:g}", rows))
    return [*found, *([(EMPTY, ~known)] if not known.all() else [])]


def _less(inside: npt.NDArray[np.bool_], outside: npt.NDArray[np.bool_]) -> float:
    from scipy.stats import fisher_exact  # importing scipy takes a second, and only slices need it

    if not len(outside):
        return 1.0
    table = [[int(part.sum()), int((~part).sum())] for part in (inside, outside)]
    return float(fisher_exact(table, alternative="less").pvalue)
