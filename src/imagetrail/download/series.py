"""Recognise numbered series in names, such as the frames of a film: they belong on one side of the split."""

import re
from collections import Counter
from collections.abc import Iterable

NAME = re.compile(r"(?P<group>.*[^\W_])(?P<sign>[_-])(?P<number>\d+)\.\w+")
LENGTH, OF_A_CLASS = 5, 3
"""Smallest means of the images of a series, and of the series of a class."""
COMPLETE = 0.9
"""Smallest share of series that are numbered from 0 or 1 without gaps."""
REASON = "names are numbered series, whose images must stay on one side of the split"


def separator(images: Iterable[tuple[str, str]]) -> str | None:
    """Return the sign between the name of a series and its number; None if names are not series.

    Args:
        images: (label, file name without folders) of each image.
    """
    sizes: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], int] = {}
    signs = set()
    for label, file in images:
        found = NAME.fullmatch(file)
        if found is None:
            return None
        key = label, found["group"]
        sizes[key] += 1
        last[key] = max(last.get(key, 0), int(found["number"]))
        signs.add(found["sign"])
    classes = len({label for label, _ in sizes})
    complete = sum(last[key] <= count for key, count in sizes.items())
    is_series = len(sizes) >= OF_A_CLASS * classes and sizes.total() >= LENGTH * len(sizes)
    return signs.pop() if len(signs) == 1 and is_series and complete >= COMPLETE * len(sizes) else None
