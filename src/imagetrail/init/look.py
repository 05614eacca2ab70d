"""Look at a data set: list it as `download` would, and decode a sample of its images."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from imagetrail.download import sources
from imagetrail.download.job import SourceJob
from imagetrail.download.reading import UNSET, Reading
from imagetrail.errors import DataError
from imagetrail.files import artifacts
from imagetrail.files.arrays import Pixels
from imagetrail.files.artifacts import LabelRow
from imagetrail.files.form import Form
from imagetrail.init import mirroring
from imagetrail.params import recipes
from imagetrail.params.download import Download
from imagetrail.preprocess import decode, readers
from imagetrail.preprocess.readers import Payload

SAMPLE = 1000
"""Images that are decoded."""
GREY = 2
"""Largest difference between the channels of a grey pixel, of 255: JPEG's rounding."""
DARK = 0.1
"""Share of the range of 16 bits that images of fewer bits do not exceed."""


@dataclass(frozen=True)
class Look:
    """What a data set looks like."""

    classes: dict[str, int]
    """Images of each class."""
    splits: Counter[str]
    """Images of each stated side; the empty name if none is stated."""
    groups: int
    sizes: Sequence[tuple[int, int]]
    """(height, width) in pixels of each image of the sample."""
    formats: Counter[str]
    """Of the sample; empty for pixels without a file."""
    is_grey: bool
    extent: tuple[int, int] | None
    """The lowest and the highest value in images of more than 8 bits; None without such images."""
    needs_range: bool
    """Whether some have 32 bits or a sign, so that nothing tells black and white."""
    unreadable: dict[str, str]
    """Why images of the sample cannot be used, by name."""
    missing: int
    """Images of the list whose files are not there."""
    first_missing: str
    crossing: int
    """Groups that are on several sides of the stated split."""
    flips: bool
    """Whether images may be mirrored without changing their class."""
    flips_reason: str

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.classes.values())

    @property
    def size(self) -> tuple[int, int]:
        """Median height and width of the sample, in pixels."""
        height, width = np.median(np.array(self.sizes), axis=0)
        return int(height), int(width)


def look(root: Path, path: str, reading: Reading) -> Look:
    """Look at a data set; nothing is written into the repository.

    Args:
        root: the repository's root.
        path: download.path.
        reading: how to read it.

    Raises:
        DataError: the source cannot be read, or no image of the sample can.
    """
    local = (root / path).resolve()
    with _listed(root, local, reading) as (aside, rows):
        classes = Counter(row.label for row in rows)
        chosen = _sample(rows)
        reader = readers.open_reader(aside, artifacts.read_source(aside), str(local))
        sizes, formats, unreadable = [], Counter[str](), {}
        is_grey, needs_range, extents = True, False, []
        thumbnails, labels = [], []
        names = {row.image for row in chosen}
        is_array = (aside / artifacts.RAW / "images.npy").is_file()  # whose rows are read in order
        for row, payload in reader(rows if is_array else chosen):
            if row.image not in names:
                continue
            try:
                facts = _facts(payload)
            except DataError as error:
                unreadable[row.image] = str(error)
                continue
            sizes.append(facts.size)
            formats[facts.format] += 1
            is_grey &= facts.is_grey
            needs_range |= facts.needs_range
            if facts.extent is not None:
                extents.append(facts.extent)
            if row.split != "test":
                thumbnails.append(facts.thumbnail)
                labels.append(row.label)
        absent = _absent(aside, local, rows)
    if not sizes:
        name, reason = next(iter(unreadable.items()))
        raise DataError(f"none of {len(unreadable)} images can be used, first {name!r} ({reason}).")
    flips, reason = mirroring.may_flip(np.array(thumbnails), np.array(labels))
    return Look(
        classes=dict(sorted(classes.items())),
        splits=Counter(row.split for row in rows),
        groups=len({row.group for row in rows} - {""}),
        sizes=sizes,
        formats=formats,
        is_grey=is_grey,
        extent=(min(low for low, _ in extents), max(high for _, high in extents)) if extents else None,
        needs_range=needs_range,
        unreadable={name: reason for name, reason in unreadable.items() if name not in absent},
        missing=len(absent),
        first_missing=next(iter(absent), ""),
        crossing=_crossing(rows),
        flips=flips,
        flips_reason=reason,
    )


@contextmanager
def _listed(root: Path, local: Path, reading: Reading) -> Iterator[tuple[Path, list[LabelRow]]]:
    """Yield a temporary folder with data/raw, and the rows of labels.csv."""
    default = recipes.params(root, recipes.DEFAULT).download.model_dump()
    options = Download.model_validate(default | UNSET | reading.options | {"path": str(local)})
    with tempfile.TemporaryDirectory(prefix="imagetrail") as temporary:
        aside = Path(temporary)
        raw = aside / artifacts.RAW
        raw.mkdir(parents=True)
        source, rows = sources.load(SourceJob(options, aside, raw, jobs=-1, reads=False))
        artifacts.write_source(raw, source)
        yield aside, list(rows)


def _sample(rows: list[LabelRow]) -> list[LabelRow]:
    """Choose rows spread evenly over the classes, in the order of the list."""
    by_class: dict[str, list[LabelRow]] = defaultdict(list)
    for row in rows:
        by_class[row.label].append(row)
    each = max(1, SAMPLE // len(by_class))
    chosen = {row.image for members in by_class.values() for row in members[:: -(-len(members) // each)]}
    return [row for row in rows if row.image in chosen]


class SampleFacts(NamedTuple):
    """Facts about an image of the sample."""

    size: tuple[int, int]
    format: str
    is_grey: bool
    extent: tuple[int, int] | None
    needs_range: bool
    thumbnail: Pixels
    """uint8 [3,THUMBNAIL,THUMBNAIL]."""


def _facts(payload: Payload) -> SampleFacts:
    form = Form(3, (mirroring.THUMBNAIL, mirroring.THUMBNAIL), None, value_range=(0, 65535))
    if isinstance(payload, np.ndarray):
        thumbnail = decode.resize(Image.fromarray(payload), form)
        return SampleFacts((payload.shape[0], payload.shape[1]), "", payload.ndim == 2, None, False, thumbnail)
    data = readers.encoded(payload)
    size = readers.size(data)
    with decode.opened(data) as image:
        kind, deep = image.format or "", image.mode.startswith(("I", "F"))
        needs_range = image.mode == "F" or (image.mode == "I" and kind == "TIFF")
        extent = _extent(np.asarray(image)) if deep else None
    thumbnail = decode.decode(data, form).pixels
    is_grey = deep or int(np.ptp(thumbnail.astype(int), axis=0).max()) <= GREY
    return SampleFacts(size, kind, is_grey, extent, needs_range, thumbnail)


def _extent(values: np.ndarray) -> tuple[int, int]:
    """Return the lowest and the highest value, as integers around them that differ."""
    finite = values[np.isfinite(values)]
    lowest, highest = (int(np.floor(finite.min())), int(np.ceil(finite.max()))) if finite.size else (0, 1)
    return lowest, max(lowest + 1, highest)


def _absent(aside: Path, local: Path, rows: list[LabelRow]) -> list[str]:
    """Return the images whose files are not there; none where the source made or fetched the pixels."""
    raw = aside / artifacts.RAW
    if any((raw / name).exists() for name in ("images", "images.npy")) or artifacts.read_source(aside).image_column:
        return []
    return sorted(row.image for row in rows if not (local / row.image).exists())


def _crossing(rows: list[LabelRow]) -> int:
    """Count the groups that are on several sides of the stated split."""
    sides: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.group and row.split:
            sides[row.group].add(row.split)
    return sum(len(found) > 1 for found in sides.values())
