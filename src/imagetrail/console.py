"""Show progress and messages at the terminal."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import NoReturn, Self, TypeAlias, TypeVar

from tqdm import tqdm

from imagetrail.errors import printable

T = TypeVar("T")
LINES_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""


class Lines:
    """Progress where there is no terminal: a line every LINES_EVERY seconds, which a log keeps; used as tqdm's bar."""

    def __init__(self, description: str, total: int | None, unit: str, done: int) -> None:
        """Start; nothing is printed yet. The arguments are those of `bar`."""
        self.total, self.n = total, done
        self._description, self._unit, self._postfix = description, unit, ""
        self._start, self._begin = done, time.monotonic()
        self._printed = self._begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_postfix_str(self, text: str) -> None:
        """Set what a line ends with."""
        self._postfix = f"; {text}"

    def update(self, count: float = 1) -> None:
        """Advance."""
        self.n += int(count)
        if (now := time.monotonic()) - self._printed >= LINES_EVERY and self.n != self.total:
            self._printed = now
            announce(f"{self._description}: {self._state(now)}{self._postfix}")

    def _state(self, now: float) -> str:
        shown = [tqdm.format_sizeof(n, "B", 1024) if self._unit == "B" else f"{n:,}" for n in (self.n, self.total or 0)]
        unit = "" if self._unit == "B" else f" {self._unit}s"
        if not self.total:
            return f"{shown[0]}{unit}"
        left = (self.total - self.n) * (now - self._begin) / max(1, self.n - self._start)
        return f"{self.n / self.total:.0%}, {shown[0]} of {shown[1]}{unit}, {tqdm.format_interval(left)} left"


Bar: TypeAlias = "tqdm[NoReturn] | Lines"


def bar(description: str, *, total: int | None, unit: str, done: int = 0, hidden: bool = False) -> Bar:
    """Create a progress bar that the caller advances, or lines where stderr is not a terminal.

    Args:
        description: of the work.
        total: number of units; None if unknown.
        unit: name of the units.
        done: units already done.
        hidden: whether to show none, as another bar counts the whole.
    """
    if not hidden and not sys.stderr.isatty():
        return Lines(description, total, unit, done)
    return tqdm(
        desc=description,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=True,
        unit_divisor=1024 if unit == "B" else 1000,
        disable=hidden,
        dynamic_ncols=True,
    )


def progress(
    items: Iterable[T], *, total: int | None, description: str, unit: str, hidden: bool = False
) -> Iterator[T]:  # fmt: skip
    """Show a progress bar while `items` are consumed; arguments as for `bar`."""
    with bar(description, total=total, unit=unit, hidden=hidden) as moving:
        for item in items:
            yield item
            moving.update()


def announce(message: str) -> None:
    """Print one line of progress to stderr."""
    tqdm.write(f"imagetrail: {printable(message)}", file=sys.stderr)


def warn(message: str) -> None:
    """Print one line to stderr about a problem that does not stop the work."""
    announce(f"warning: {message}")
