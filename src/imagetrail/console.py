"""What a person at the terminal sees while work goes on."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], *, total: int, description: str, unit: str) -> Iterable[T]:
    """Show a bar while `items` are consumed; nothing where stderr is not a terminal."""
    return tqdm(items, total=total, desc=description, unit=unit, disable=not sys.stderr.isatty(), dynamic_ncols=True)


def warn(message: str) -> None:
    """One line on stderr about something that does not stop the work."""
    tqdm.write(f"imagetrail: warning: {message}", file=sys.stderr)
