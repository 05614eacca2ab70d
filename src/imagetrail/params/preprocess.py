"""Section `preprocess`: from image files to one array."""

from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from imagetrail.errors import quoted
from imagetrail.files.form import MAX_SIDE, Form
from imagetrail.params.section import ImageSize, Section, sides


def _value_range(value: object) -> object:
    pair = value if isinstance(value, list) and len(value) == 2 else []
    if not pair or not all(type(level) is int and abs(level) < 2**31 for level in pair) or pair[0] >= pair[1]:
        raise ValueError(f"{quoted(value)} must be [black, white], two integers with black below white")
    return value


Limit = Annotated[int, Field(ge=0)] | None


class Limits(Section):
    """Largest number of images with each kind of finding (see health.py); more fail the stage. Null: any number."""

    duplicate: Limit
    """Images with the same pixels as an earlier one."""
    near_duplicate: Limit
    """Images that differ from an earlier one only by size, compression or brightness."""
    blank: Limit
    """Images of one colour."""
    tiny: Limit
    """Images that are magnified by more than 4."""
    odd_shape: Limit
    """Images that are stretched by more than 4 to 1."""
    misnamed: Limit
    """Images whose format differs from the file's extension."""
    animated: Limit
    """Files with several frames; the first is used."""
    damaged: Limit
    """JPEGs whose decoder reports corrupt data; some of their pixels may be wrong."""

    def by_kind(self) -> dict[str, int | None]:
        """Return the limits by the kinds of findings.csv."""
        return {name.replace("_", " "): limit for name, limit in self}


class Preprocess(Section):
    """From image files to one array."""

    image_size: ImageSize | None
    """Pixels: one number for a square, or [height, width]. Null if `divisor` determines it."""
    divisor: Annotated[int, Field(ge=1)] | None
    """Divide each side of an image by this, rounded down; all images must then have the same size."""
    short_side: Annotated[int, Field(ge=1, le=MAX_SIDE)] | None
    """Resize the short side to this and crop image_size from the centre; null stretches both sides to image_size."""
    channels: Literal[1, 3]
    """1 is grey (Rec. 709), 3 is RGB."""
    range: Annotated[list[int], PlainValidator(_value_range)] | None
    """[black, white]: the values that become 0 and 255 in grey images of more than 8 bits, such as [0, 4095] for 12
    bits in 16-bit files; null takes the format's own. Others are unaffected."""
    max_rejected: Annotated[int, Field(ge=0)]
    """Largest number of unusable images, which rejected.csv lists; more fail the stage."""
    on_conflict: Literal["fail", "drop"]
    """Reaction to images with equal pixels and different labels: fail, or leave all of them out."""
    limits: Limits
    """Largest numbers of suspicious images, which findings.csv lists."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, or None if `divisor` determines it."""
        return None if self.image_size is None else sides(self.image_size)

    def form(self, size: tuple[int, int]) -> Form:
        """Return the form of images of (height, width) pixels."""
        levels = None if self.range is None else (self.range[0], self.range[1])
        return Form(self.channels, size, self.short_side, levels)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.image_size is None) == (self.divisor is None):
            raise ValueError(
                f"image_size = {self.image_size} and divisor = {self.divisor}: one of them decides the size; "
                "set the other to null"
            )
        if self.short_side is not None and (self.size is None or self.short_side < max(self.size)):
            raise ValueError(
                f"short_side = {self.short_side} must be at least image_size = {self.image_size}, a part of it"
            )
        return self
