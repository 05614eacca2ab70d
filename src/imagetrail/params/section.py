"""Define what all sections of params.yaml share: strict, frozen models, and the types of their fields."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator

from imagetrail.errors import quoted
from imagetrail.files.form import MAX_SIDE

Scalar = str | int | float | bool | None
Leaf = Scalar | list[Scalar]
"""The value of a dotted name."""


class Section(BaseModel):
    """A mapping of params.yaml: it forbids unknown keys, conversions and changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def inside(value: str) -> str:
    """Check that a path does not leave its folder."""
    if PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts:
        raise ValueError(f"{quoted(value)} is outside download.path, which is what DVC watches; move it in")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{quoted(value)} holds a control character; remove it")
    return value


def _prose(value: str) -> str:
    for line in value.splitlines():
        _printable(line)
    return value.strip()


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of two; give 1, 2, 4, 8 …")
    return value


def _image_size(value: object) -> object:
    given = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in given):
        raise ValueError(f"{quoted(value)} must be one number of pixels, or [height, width], each from 1 to {MAX_SIDE}")
    return value


NonEmpty = Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_printable)]
"""Also a file's name, which most systems end at 255 bytes."""
Prose = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_prose)]
"""Text for people, of several lines."""
Inside = Annotated[NonEmpty, AfterValidator(inside)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
PowerOfTwo = Annotated[int, Field(ge=1, le=1024), AfterValidator(_power_of_two)]
Threads = Annotated[int, Field(ge=1, le=1024)]
"""CPU threads of torch."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Device = Literal["auto", "cpu", "cuda"]
ImageSize = Annotated[int | list[int], PlainValidator(_image_size)]
"""Pixels: one number for a square, or [height, width]."""
Share = Annotated[float, Field(ge=0, le=1)]


def sides(size: int | list[int]) -> tuple[int, int]:
    """Return (height, width) of an ImageSize."""
    height, width = size if isinstance(size, list) else (size, size)
    return height, width


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yield the values of a tree by dotted name; mappings in a list are numbered from 0."""
    for key, value in tree.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value  # type: ignore[misc]  # YAML's leaves
