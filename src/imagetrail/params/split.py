"""Section `split`: the division of the rows into train, validation and test."""

from typing import Annotated, Literal

from pydantic import Field

from imagetrail.params.section import Section, Seed


class Split(Section):
    """Division of the rows into train, validation and test."""

    by: Literal["stratified", "hash"]
    """stratified draws the same share of every class; hash assigns images, or groups, by hash, so that they keep their
    side when others are added. Images of a group and equal images stay together."""
    test: Annotated[float, Field(gt=0, lt=1)]
    """Share of the rows for the test, if the data states no split."""
    val: Annotated[float, Field(ge=0, lt=1)]
    """Share of the train rows for validation, if the data states none."""
    seed: Seed
    on_leak: Literal["fail", "drop"]
    """Reaction to equal images, or images of a group, on two sides of a stated or hashed split: fail, or drop those in
    train and val."""
    on_rare: Literal["fail", "train", "drop"]
    """Reaction to classes with too few images or groups for train, val and test: fail, use their images for training
    only, or leave them out."""
    group_near_duplicates: bool
    """Whether images that preprocess found to differ only by size, compression or brightness stay on one side."""
