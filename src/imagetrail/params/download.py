"""Section `download`: the source of the labelled images."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from imagetrail import addresses
from imagetrail.errors import nearest, quoted
from imagetrail.params.section import Inside, NonEmpty, Section, inside


def _archive(value: str) -> str:
    if not addresses.is_address(value):
        return inside(value)
    if problem := addresses.problem(value):
        raise ValueError(problem)  # which does not show the value
    return value


DELIMITERS = (",", ";", "\t", "|")
FIELDS = ("label", "split", "group")
OTHER_FIELDS = ("ext", "number")
TOKEN = re.compile(r"\{[^{}]*\}|\*\*/|\*+|[^{}*]+|[{}]")
"""The parts of a pattern."""
CORRECTIONS = "relabel.csv"
LABEL_OPTIONS = {"classes", "fold_labels"}
COLUMN_OPTIONS = {"image_column", "label_column", "split_column", "group_column", "columns"} | LABEL_OPTIONS
TABLE_OPTIONS = COLUMN_OPTIONS | {"table", "header", "delimiter", "images", "extension", "pattern"}
OPTIONS: Mapping[str, set[str]] = {
    "csv": TABLE_OPTIONS,
    "folder": LABEL_OPTIONS | {"pattern"},
    "archive": TABLE_OPTIONS | {"archive", "sha256"},
    "parquet": COLUMN_OPTIONS,
    "auto": {"fold_labels"},
}
"""The options that each source reads from section `download` besides `path`; other sources read no more."""


def _pattern(value: str) -> str:
    fields = [token[1:-1] for token in TOKEN.findall(value) if token.startswith("{")]
    if wrong := [name for name in fields if name not in (*FIELDS, *OTHER_FIELDS)]:
        raise ValueError(f"{quoted(value)} has the field {{{wrong[0]}}}; {nearest(wrong[0], [*FIELDS, *OTHER_FIELDS])}")
    if any(fields.count(name) > 1 for name in FIELDS) or "***" in value or "}" in re.sub(r"\{\w+\}", "", value):
        raise ValueError(
            f"{quoted(value)} is not a pattern; give each field once, as in '{{label}}/{{group}}_*.{{ext}}'"
        )
    return value


TAKEN = {
    "image", "label", "predicted", "probabilities", "confidence", "second", "second_confidence", "third",
    "third_confidence",
}  # fmt: skip
"""Columns of predictions.csv and predictions.parquet."""
Column = NonEmpty | Annotated[int, Field(ge=1, lt=2**16)]
"""A column by its name, or by its position from 1."""


class Download(Section):
    """The source of the labelled images."""

    source: Literal[
        "auto", "digits", "csv", "folder", "archive", "parquet",
        "MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100",
        "DTD", "FGVCAircraft", "Flowers102", "Food101", "OxfordIIITPet",
    ]  # fmt: skip
    """`auto` (recognised), `digits` (in scikit-learn), `csv`, `folder` (class folders), `archive` (of either),
    `parquet`, or one of torchvision's sets by its class name."""
    path: NonEmpty
    """Folder of local data, from the repository root; torchvision's files are searched here before the network."""
    archive: Annotated[str, Field(min_length=1), AfterValidator(_archive)] | None
    """archive: a zip or tar in `path`, or an http(s) address, in which `$NAME` is an environment variable."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    """archive: the expected sha256; null accepts any archive, and warns with its sha256."""
    table: Inside | Annotated[list[Inside], Field(min_length=1)]
    """csv: the table, from `path`; or several, or a pattern such as `*/labels.csv`. The name of a table, or of its
    folder, may state its split."""
    header: bool
    """csv: whether the first line names the columns; without, they are given by position."""
    delimiter: Literal[",", ";", "\t", "|"] | None
    """csv: delimiter of the cells; null detects it in the first line."""
    images: Inside | Annotated[list[Inside], Field(min_length=1)]
    """csv: the folder that image names are relative to, below `path`; or several, one of which holds the image. Names
    may also be relative to the table's own folder."""
    image_column: Column
    """csv: column of image names, or of their addresses; parquet: column of the images themselves."""
    extension: str | None = Field(pattern=r"^\.?\w+$")
    """csv: extension for image names that have none in the table, such as .jpg."""
    label_column: Column | Annotated[list[Column], Field(min_length=2)]
    """Column of labels; always read as text. csv: or one column for each class, of which a row marks one with 1."""
    split_column: Column | None
    """Column with train, val or test for each row."""
    group_column: Column | None
    """Column of groups (a patient, a session); a group stays on one side of the split."""
    columns: Annotated[list[Column], Field(min_length=1)] | None
    """csv, parquet: further columns (a camera, a site, an age) that stay with each image; `evaluate` measures the model
    for each of their values."""
    pattern: Annotated[NonEmpty, AfterValidator(_pattern)] | None
    """folder, csv: what image names hold, as in `{label}/{group}_*.{ext}`: {label} (folder only), {split}, {group},
    {number} for digits, {ext}, * for any part of a name and ** for any folders. Null: folders are classes."""
    classes: Inside | None
    """Table of two columns or JSON in `path` that gives each label in the data its class name."""
    fold_labels: bool
    """Whether labels that differ only in case or spaces are one class."""
    weights: NonEmpty
    """Folder of pretrained weights, from the repository root; searched before the network. See model.weights."""

    @model_validator(mode="after")
    def _archive_is_named(self) -> Self:
        if self.source == "archive" and self.archive is None:
            raise ValueError("archive = null, and source = 'archive' needs one: a file in path, or an address")
        if self.source != "archive" and (self.archive or self.sha256):
            raise ValueError(
                f"archive and sha256 have no effect with source = {self.source!r}; set that to archive, or them to null"
            )
        return self

    @model_validator(mode="after")
    def _columns_and_pattern_fit(self) -> Self:
        columns = [self.image_column, self.label_column, self.split_column, self.group_column]
        further = self.column_names
        if taken := [name for name in further if name in TAKEN]:
            raise ValueError(f"columns has {taken[0]!r}, which predictions.csv has already; rename it in the table")
        if twice := [name for name in further if further.count(name) > 1]:
            raise ValueError(f"columns has {twice[0]!r} twice; name each column once")
        if self.source == "parquet" and any(
            isinstance(column, int | list) for column in columns + (self.columns or [])
        ):
            raise ValueError("columns of parquet are given by name, one each")
        wanted = [
            column
            for column in [*columns[:2], *(self.columns or [])]
            for column in (column if isinstance(column, list) else [column])
        ]
        if self.source == "csv" and not self.header and any(isinstance(column, str) for column in wanted):
            raise ValueError(
                "header = false needs image_column and label_column by position, such as 1 and 2; columns too"
            )
        states_label = self.pattern is not None and "{label}" in self.pattern
        if self.pattern is not None and self.source in ("folder", "csv") and states_label != (self.source == "folder"):
            fix = "needs {label}" if self.source == "folder" else "must leave {label} to label_column"
            raise ValueError(f"pattern = {self.pattern!r} {fix} with source = {self.source!r}")
        return self

    @property
    def corrections(self) -> str:
        """The file of corrected labels, from the repository root; it need not be there."""
        return f"{self.path}/{CORRECTIONS}"

    @property
    def column_names(self) -> list[str]:
        """`columns` as text."""
        return [str(column) for column in self.columns or []]

    @property
    def unused(self) -> set[str]:
        """Options of other sources."""
        return set(Download.model_fields) - {"source", "path", "weights"} - OPTIONS.get(self.source, set())

    @property
    def image_folders(self) -> list[str]:
        """`images` as a list."""
        return [self.images] if isinstance(self.images, str) else self.images

    @property
    def tables(self) -> list[str]:
        """`table` as a list."""
        return [self.table] if isinstance(self.table, str) else self.table

    @property
    def suffix(self) -> str:
        """`extension` with its dot; empty without one."""
        return f".{self.extension.removeprefix('.')}" if self.extension else ""
