"""From labelled images to one array: what `preprocess` does, in memory that does not grow with their number."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from imagetrail import arrays, artifacts
from imagetrail.arrays import Pixels
from imagetrail.artifacts import Dataset, LabelRow, Rejection, TensorRow
from imagetrail.console import progress
from imagetrail.errors import DataError
from imagetrail.images import Form
from imagetrail.params import Machine, Preprocess
from imagetrail.readers import EncodedReader, Reader
from imagetrail.workers import spread

CHUNK = 64
"""Images that a worker decodes at a time: large enough to hide the hand-over, small enough for memory."""


def sized(root: Path, reader: Reader, options: Preprocess) -> tuple[Reader, tuple[int, int]]:
    """The size that images get.

    With a divisor it is that of the first readable image, divided, and images of another size will be rejected.

    Args:
        root: the repository's root.
        reader: where the pixels are.
        options: section `preprocess` of params.yaml.

    Returns:
        (the reader to use, (height, width) in pixels).

    Raises:
        DataError: no image is readable, or nothing is left of one.
    """
    if options.size is not None:
        return reader, options.size
    divisor = options.divisor
    assert divisor is not None, "params.py: one of the two decides"
    for index, row in enumerate(artifacts.read_labels(root)):
        try:
            whole = reader.size(index, row)
        except DataError:
            continue
        height, width = (side // divisor for side in whole)
        if min(height, width) < 1:
            raise DataError(
                f"preprocess.divisor = {divisor} leaves nothing of {whole[0]} x {whole[1]} pixels; lower it."
            )
        return (replace(reader, expected=whole) if isinstance(reader, EncodedReader) else reader), (height, width)
    raise DataError("no image of data/raw/labels.csv can be read, so preprocess.divisor has no size to divide.")


@dataclass(frozen=True)
class Request:
    """What `build` is asked for."""

    source: str
    """Name of the source, for dataset.json."""
    reader: Reader
    form: Form
    max_rejected: int
    machine: Machine


def build(root: Path, request: Request) -> None:
    """Decode every row of labels.csv into data/tensors.

    Raises:
        DataError: one class only; one image under two labels; more images than `max_rejected` cannot be used, which
            then stand in data/rejected.csv with their reasons.
    """
    total, classes = _survey(root)
    with artifacts.writing_folder(root / artifacts.TENSORS) as folder:
        rejected, counts = _write(root, folder, request, total, classes)
        if len(rejected) > request.max_rejected:
            artifacts.write_rows(root / artifacts.REJECTED, Rejection._fields, rejected)
            worst = rejected[0]
            raise DataError(
                f"{len(rejected)} of {total} images cannot be used and preprocess.max_rejected allows "
                f"{request.max_rejected}: {artifacts.REJECTED} lists them, first {worst.image!r} ({worst.reason}); "
                "mend them, or allow as many."
            )
        if empty := [name for name in classes if not counts[name]]:
            raise DataError(f"the class {empty[0]!r} has no usable image left; mend {artifacts.REJECTED} or drop it.")
        (root / artifacts.REJECTED).unlink(missing_ok=True)
        artifacts.write_rows(folder / "rejected.csv", Rejection._fields, rejected)
        dataset = Dataset(
            source=request.source,
            classes=classes,
            counts={name: counts[name] for name in classes},
            shape=[total - len(rejected), request.form.channels, *request.form.size],
            short_side=request.form.short_side,
            rejected=len(rejected),
            sha256=artifacts.file_sha256(folder / "rows.csv"),
        )
        artifacts.write_dataset(folder / "dataset.json", dataset)


def _survey(root: Path) -> tuple[int, list[str]]:
    """(rows, sorted class names) of labels.csv; refuses one class, and one image under two labels."""
    codes: dict[str, int] = {}
    keys, labels = array("Q"), array("q")
    for row in artifacts.read_labels(root):
        code = codes.setdefault(row.label, len(codes))
        if row.sha256:
            keys.append(int(row.sha256[:16], 16))
            labels.append(code)
    if len(codes) < 2:
        raise DataError(f"all images have one label, {next(iter(codes), '')!r}; a classifier needs two classes.")
    _refuse_two_labels(root, np.asarray(keys), np.asarray(labels))
    return sum(1 for _ in artifacts.read_labels(root)), sorted(codes)


def _refuse_two_labels(root: Path, keys: np.ndarray, labels: np.ndarray) -> None:
    """Raise DataError where equal images have different labels; `keys` are the first 64 bits of their sha256."""
    order = np.argsort(keys, kind="stable")
    keys, labels = keys[order], labels[order]
    doubtful = {int(key) for key in keys[1:][(keys[1:] == keys[:-1]) & (labels[1:] != labels[:-1])]}
    if not doubtful:
        return
    first: dict[str, tuple[int, LabelRow]] = {}
    pairs = []
    for line, row in enumerate(artifacts.read_labels(root), start=2):
        if row.sha256 and int(row.sha256[:16], 16) in doubtful:
            earlier_line, earlier = first.setdefault(row.sha256, (line, row))
            if earlier.label != row.label:
                pairs.append(
                    f"{earlier.image!r} (line {earlier_line}) is {earlier.label!r}, "
                    f"{row.image!r} (line {line}) is {row.label!r}"
                )
    if pairs:
        shown = "\n  ".join(pairs[:20])
        raise DataError(
            f"{len(pairs)} images of data/raw/labels.csv are equal to one with another label; keep one label of each:"
            f"\n  {shown}"
        )


def _write(
    root: Path, folder: Path, request: Request, total: int, classes: list[str]
) -> tuple[list[Rejection], Counter[str]]:
    """images.npy, labels.npy and rows.csv in one pass; returns what was rejected and the images of each class."""
    codes = {name: code for code, name in enumerate(classes)}
    rejected: list[Rejection] = []
    counts: Counter[str] = Counter()
    with (
        arrays.NpyWriter(folder / "images.npy", (request.form.channels, *request.form.size), np.uint8) as pixel_file,
        arrays.NpyWriter(folder / "labels.npy", (), np.int64) as label_file,
    ):

        def accepted() -> Iterator[TensorRow]:
            decoded = _decode(artifacts.read_labels(root), request)
            for line, (row, pixels) in enumerate(
                progress(decoded, total=total, description="preprocess", unit="image"), start=2
            ):
                if isinstance(pixels, str):
                    rejected.append(Rejection(row.image, line, pixels))
                    continue
                pixel_file.append(pixels[np.newaxis])
                label_file.append(np.array([codes[row.label]], np.int64))
                counts[row.label] += 1
                sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
                yield TensorRow(row.image, row.label, row.split, row.group, sha256)

        artifacts.write_rows(folder / "rows.csv", TensorRow._fields, accepted())
    return rejected, counts


def _decode(rows: Iterable[LabelRow], request: Request) -> Iterator[tuple[LabelRow, Pixels | str]]:
    """Each row with its pixels or the reason why there are none, in order; decoded in parallel."""
    decode = partial(_decode_chunk, read=request.reader, form=request.form)
    for chunk in spread(decode, _chunks(enumerate(rows)), request.machine):
        yield from chunk


def _chunks(rows: Iterator[tuple[int, LabelRow]]) -> Iterator[list[tuple[int, LabelRow]]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _decode_chunk(chunk: list[tuple[int, LabelRow]], read: Reader, form: Form) -> list[tuple[LabelRow, Pixels | str]]:
    return [(row, _pixels_or_reason(index, row, read, form)) for index, row in chunk]


def _pixels_or_reason(index: int, row: LabelRow, read: Reader, form: Form) -> Pixels | str:
    try:
        return read(index, row, form)
    except DataError as error:
        return str(error)
