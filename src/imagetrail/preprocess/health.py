"""Find images that are usable but suspicious, before training wastes an hour on them.

None of these is an error by itself: a flower may be photographed twice. `preprocess.limits` sets the limits for each
kind; findings.csv lists all findings, dataset.json counts them, and plots/findings.png shows some.
"""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagetrail.files.arrays import Indices, Pixels
from imagetrail.files.artifacts import Finding, TensorRow
from imagetrail.files.form import Form
from imagetrail.preprocess.decode import REC_709, Decoded
from imagetrail.preprocess.formats import EXTENSIONS

BLANK = 8
"""Largest range of a channel's values, of 255, in a blank image."""
TINY = 4
"""An image is tiny if it is magnified by more than this."""
ODD = 4.0
"""An image has an odd shape if conversion stretches it by more than this to one."""
SIDE = 8
"""Side of the thumbnails that are compared."""
ALIKE = 0.99
"""Smallest correlation of two thumbnails, and of their images, that makes them near duplicates."""
COMPARED = 100_000
"""Largest number of images that are compared with each other; the time grows with its square."""
COMPARED_AT_ONCE = 128
"""Images that are compared with all others at a time: 50 MB."""
Vectors = npt.NDArray[np.float32]
KINDS = ("duplicate", "near duplicate", "blank", "tiny", "odd shape", "misnamed", "animated", "damaged")


class Facts(NamedTuple):
    """Facts about an image besides its pixels."""

    sha256: str
    """sha256 of the pixels."""
    size: tuple[int, int]
    """(height, width) in pixels, before it was changed."""
    format: str
    frames: int
    complaint: str
    blank: bool
    thumbnail: bytes
    """Grey, SIDE x SIDE."""


def facts(images: Sequence[Decoded], pixels: Pixels) -> list[Facts]:
    """Compute facts about a batch of images, in the workers.

    Args:
        images: n of them.
        pixels: uint8 [n,C,H,W], of these images.
    """
    blank = np.ptp(pixels, axis=(2, 3)).max(axis=1) <= BLANK
    return [
        Facts(hashlib.sha256(i.pixels.data).hexdigest(), i.size, i.format, i.frames, i.complaint, bool(b), t.tobytes())
        for i, b, t in zip(images, blank, _thumbnails(pixels), strict=True)
    ]


def _thumbnails(pixels: Pixels) -> Pixels:  # uint8 [n,C,H,W] -> uint8 [n,SIDE,SIDE]
    """Shrink to grey thumbnails, each value the mean of its area."""
    channels, height, width = pixels.shape[1:]
    rows, columns = _areas(height), _areas(width)
    shares = np.array([1.0] if channels == 1 else REC_709[:3], np.float32)
    grey = sum(rows @ (pixels[:, channel] * share) @ columns.T for channel, share in enumerate(shares))
    thumbnails: Pixels = np.rint(grey).astype(np.uint8)
    return thumbnails


@cache
def _areas(side: int) -> Vectors:
    """Return float32 [SIDE,side]: the share of each pixel in each of SIDE equal parts of a line; rows sum to 1."""
    edges = np.arange(SIDE + 1)[:, np.newaxis] * (side / SIDE)
    covered = np.clip(edges - np.arange(side), 0, 1)  # of each pixel, up to each edge
    areas: Vectors = (np.diff(covered, axis=0) * (SIDE / side)).astype(np.float32)
    return areas


class Survey:
    """A few bytes remembered of each accepted image."""

    def __init__(self, form: Form) -> None:
        """Start with no images."""
        self._form = form
        self._heights, self._widths = array("I"), array("I")
        self._keys = array("Q")
        self._thumbnails = bytearray()
        self._noted: list[tuple[str, int, None, str]] = []

    def add(self, name: str, image: Facts) -> None:
        """Add an image by the name of its file."""
        row = len(self._keys)
        if image.blank:
            self._noted.append(("blank", row, None, ""))
        if image.format != EXTENSIONS.get(PurePosixPath(name).suffix.lower(), image.format):
            self._noted.append(("misnamed", row, None, f"holds {image.format}"))
        if image.frames > 1:
            self._noted.append(("animated", row, None, f"the first of {image.frames} frames is used"))
        if image.complaint:
            self._noted.append(("damaged", row, None, image.complaint))
        self._heights.append(image.size[0])
        self._widths.append(image.size[1])
        self._keys.append(int(image.sha256[:16], 16))
        if row < COMPARED:
            self._thumbnails += image.thumbnail

    def sizes(self) -> dict[str, list[int]]:
        """Return the least, median and largest height and width in pixels, before resizing."""
        return {
            name: [int(value) for value in (np.min(sides), np.median(sides), np.max(sides))]
            for name, sides in (("height", np.asarray(self._heights)), ("width", np.asarray(self._widths)))
        }

    @property
    def shapes(self) -> Indices:
        """int64 [N,2]: height and width of each image before resizing."""
        return np.stack([np.asarray(self._heights), np.asarray(self._widths)], axis=1).astype(np.int64)

    def odd_ones(self, images: Pixels) -> Iterator[tuple[str, int, int | None, str]]:
        """Yield (kind, row, the other row, details) of every finding.

        Args:
            images: uint8 [N,C,H,W], memory-mapped: the accepted images.
        """
        copies = _equal(np.asarray(self._keys))
        yield from (("duplicate", row, first, "") for row, first in copies)
        repeated = {row for row, _ in copies}
        if len(images) <= COMPARED:
            thumbnails = np.frombuffer(self._thumbnails, np.uint8).reshape(-1, SIDE * SIDE)
            for row, other, correlation in _alike(images, _normal(thumbnails.astype(np.float32))):
                if row not in repeated and other not in repeated:
                    yield "near duplicate", row, other, f"correlation {correlation:.4f}"
        yield from self._noted
        height, width = self._form.size
        heights, widths = np.asarray(self._heights, np.float64), np.asarray(self._widths, np.float64)
        small = np.maximum(height / heights, width / widths)
        wanted = 1.0 if self._form.short_side else height / width
        stretch = np.maximum(heights / widths / wanted, widths / heights * wanted)
        for kind, values, limit in (("tiny", small, TINY), ("odd shape", stretch, ODD)):
            for row in np.flatnonzero(values > limit).tolist():
                yield kind, row, None, f"{self._heights[row]} x {self._widths[row]} pixels"


def name(found: list[tuple[str, int, int | None, str]], rows: Iterator[TensorRow]) -> list[Finding]:
    """Return findings by the names of images, grouped by kind."""
    wanted = {row for _, row, _, _ in found} | {other for _, _, other, _ in found if other is not None}
    named = {number: row for number, row in enumerate(rows) if number in wanted}
    findings = []
    for kind, row, other, detail in sorted(found, key=lambda f: (KINDS.index(f[0]), f[1])):
        image, beside = named[row], None if other is None else named[other]
        if beside is not None and beside.label != image.label:
            detail = f"{detail}, labels {image.label!r} and {beside.label!r}".strip(", ")
        findings.append(Finding(kind, image.image, "" if beside is None else beside.image, detail))
    return findings


def _equal(keys: npt.NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return (row, the first row with the same pixels) of each copy."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[inverse] != np.arange(len(keys)))
    return [(row, int(first[inverse[row]])) for row in copies.tolist()]


def _alike(images: Pixels, thumbnails: Vectors) -> Iterator[tuple[int, int, float]]:
    """Yield (row, an earlier row, correlation) of images that differ only by size, compression or brightness.

    Grey thumbnails find the pairs, the images themselves decide; each row is paired with the most similar one. Blank
    images have no pattern to compare.
    """
    for start in range(0, len(thumbnails), COMPARED_AT_ONCE):
        likeness = thumbnails[start : start + COMPARED_AT_ONCE] @ thumbnails[: start + COMPARED_AT_ONCE].T
        likeness[np.triu_indices(len(likeness), k=start, m=likeness.shape[1])] = 0  # each pair once, none with itself
        for row in np.flatnonzero(likeness.max(axis=1) >= ALIKE).tolist():
            other = int(likeness[row].argmax())
            correlation = float(_standard(images[[start + row]])[0] @ _standard(images[[other]])[0])
            if correlation >= ALIKE:
                yield start + row, other, correlation


def _standard(images: Pixels) -> Vectors:
    """Return float32 [N, C*H*W], each of mean 0 and length 1."""
    return _normal(images.reshape(len(images), -1).astype(np.float32))


def _normal(values: Vectors) -> Vectors:
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    normal: Vectors = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return normal
