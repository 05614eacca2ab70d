"""Show progress and messages at the terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import NoReturn, TypeVar

from tqdm import tqdm

from imagetrail.errors import printable

T = TypeVar("T")


def bar(description: str, *, total: int | None, unit: str, done: int = 0, hidden: bool = False) -> "tqdm[NoReturn]":
    """Create a progress bar that the caller advances; it is hidden unless stderr is a terminal.

    Args:
        description: of the work.
        total: number of units; None if unknown.
        unit: name of the units.
        done: units already done.
        hidden: whether to show none, as another bar counts the whole.
    """
    return tqdm(
        desc=description,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=True,
        unit_divisor=1024 if unit == "B" else 1000,
        disable=hidden or not sys.stderr.isatty(),
        dynamic_ncols=True,
    )


def progress(items: Iterable[T], *, total: int | None, description: str, unit: str) -> Iterator[T]:
    """Show a progress bar while `items` are consumed."""
    with bar(description, total=total, unit=unit) as moving:
        for item in items:
            yield item
            moving.update()


def announce(message: str) -> None:
    """Print one line of progress to stderr."""
    tqdm.write(f"imagetrail: {printable(message)}", file=sys.stderr)


def warn(message: str) -> None:
    """Print one line to stderr about a problem that does not stop the work."""
    announce(f"warning: {message}")
