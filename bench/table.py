"""A figure with its goal, and the table of all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """One figure."""

    what: str
    measured: str
    goal: str
    held: bool


def show(heading: str, rows: list[Row]) -> str:
    """Format a Markdown table."""
    lines = [heading, "", "| what | measured | goal | |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.measured} | {row.goal} | {'holds' if row.held else 'DOES NOT HOLD'} |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def interleaved(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each action; actions take turns, so that a noisy machine affects all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            begin = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def spread(seconds: list[float]) -> str:
    """Format the median and the range."""
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
