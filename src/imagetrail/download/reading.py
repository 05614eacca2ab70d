"""One way to read a folder of data."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from imagetrail.errors import DataError

UNSET: dict[str, object] = {
    "archive": None, "sha256": None, "header": True, "delimiter": None, "images": ".", "extension": None,
    "split_column": None, "group_column": None, "columns": None, "pattern": None, "classes": None,
}  # fmt: skip
"""The options that a reading leaves out, each without effect."""


class Reading(NamedTuple):
    """Options of section `download`, with the reason for each, by name."""

    text: str
    """In a few words, for a choice."""
    options: dict[str, object]
    reasons: dict[str, str]
    odd: tuple[str, ...] = ()
    """What a person should look at, in sentences."""


Ask = Callable[[str, Sequence[Reading]], Reading]
"""Chooses between readings; the question is a sentence without its full stop."""


def refuse(question: str, readings: Sequence[Reading]) -> NoReturn:
    """Raise DataError with all readings: nobody is there to choose."""
    ways = "\n".join(f"  {reading.text}: {settings(reading)}" for reading in readings)
    raise DataError(f"{question}; set download's parameters to one of these:\n{ways}")


def settings(reading: Reading) -> str:
    """Write a reading's options as parameters."""
    return ", ".join(f"{name}: {value}" for name, value in reading.options.items())
