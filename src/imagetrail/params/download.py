"""Section `download`: the source of the labelled images."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from imagetrail import addresses
from imagetrail.params.section import Inside, NonEmpty, Section, inside


def _archive(value: str) -> str:
    if not addresses.is_address(value):
        return inside(value)
    if problem := addresses.problem(value):
        raise ValueError(problem)  # which does not show the value
    return value


DELIMITERS = (",", ";", "\t", "|")
COLUMN_OPTIONS = {"image_column", "label_column", "split_column", "group_column"}
TABLE_OPTIONS = COLUMN_OPTIONS | {"table", "delimiter", "images", "extension"}
OPTIONS: Mapping[str, set[str]] = {
    "csv": TABLE_OPTIONS,
    "archive": TABLE_OPTIONS | {"archive", "sha256"},
    "parquet": COLUMN_OPTIONS,
}
"""The options that each source reads from section `download` besides `path`; other sources read no more."""


class Download(Section):
    """The source of the labelled images."""

    source: Literal[
        "digits", "csv", "folder", "archive", "parquet",
        "MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100",
        "DTD", "FGVCAircraft", "Flowers102", "Food101", "OxfordIIITPet",
    ]  # fmt: skip
    """`digits` (in scikit-learn), `csv`, `folder` (class folders), `archive` (of either), `parquet`, or one of
    torchvision's sets by its class name."""
    path: NonEmpty
    """Folder of local data, from the repository root; torchvision's files are searched here before the network."""
    archive: Annotated[str, Field(min_length=1), AfterValidator(_archive)] | None
    """archive: a zip or tar in `path`, or an http(s) address, in which `$NAME` is an environment variable."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    """archive: the expected sha256; null accepts any archive, and warns with its sha256."""
    table: Inside
    """csv: the table, from `path`."""
    delimiter: Literal[",", ";", "\t", "|"] | None
    """csv: delimiter of the cells; null detects it in the header."""
    images: Inside | Annotated[list[Inside], Field(min_length=1)]
    """csv: the folder that image names are relative to, below `path`; or several, one of which holds the image."""
    image_column: NonEmpty
    """csv: column of image names; parquet: column of the images themselves."""
    extension: str | None = Field(pattern=r"^\.\w+$")
    """csv: extension for image names that have none in the table, such as .jpg."""
    label_column: NonEmpty
    """csv: column of labels; always read as text."""
    split_column: NonEmpty | None
    """csv: column with train, val or test for each row."""
    group_column: NonEmpty | None
    """csv: column of groups (a patient, a session); a group stays on one side of the split."""
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

    @property
    def unused(self) -> set[str]:
        """Options of other sources."""
        return set(Download.model_fields) - {"source", "path", "weights"} - OPTIONS.get(self.source, set())

    @property
    def image_folders(self) -> list[str]:
        """`images` as a list."""
        return [self.images] if isinstance(self.images, str) else self.images
