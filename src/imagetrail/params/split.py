"""Section `split`: which rows train, which choose, which test."""

from typing import Annotated, Literal

from pydantic import Field

from imagetrail.params.section import Section, Seed


class Split(Section):
    """Division of the rows into train, validation and test."""

    by: Literal["stratified", "hash"]
    """stratified draws the same share of every class; hash lets each image, or group, decide for itself, so that it
    stays where it is when others are added. Images of a group and equal images stay together."""
    test: Annotated[float, Field(gt=0, lt=1)]
    """Share of the rows for the test, where the data states no split."""
    val: Annotated[float, Field(ge=0, lt=1)]
    """Share of the train rows for validation, where the data states none."""
    seed: Seed
    on_leak: Literal["fail", "drop"]
    """Images that a stated split, or hash, puts on another side than an equal one or one of their group: fail, or leave
    those out of train and val."""
