"""Define the form that every image is converted to, for training and for prediction."""

from dataclasses import dataclass

MAX_SIDE = 4096
"""Largest side of the tensors' images, in pixels."""


@dataclass(frozen=True)
class Form:
    """The form that every image is converted to."""

    channels: int
    """1 is grey, 3 is RGB."""
    size: tuple[int, int]
    """(height, width) in pixels."""
    short_side: int | None
    """Resize the short side to this and cut `size` out of the centre; None stretches both sides to `size`."""
    value_range: tuple[int, int] | None = None
    """Values that become 0 and 255 in images of more than 8 bits; None takes what their format can hold."""
