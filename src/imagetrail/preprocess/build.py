"""Build one array from labelled images, in memory that does not grow with their number."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from imagetrail.console import bar, warn
from imagetrail.errors import DataError
from imagetrail.files import arrays, artifacts
from imagetrail.files.arrays import Indices, Pixels
from imagetrail.files.artifacts import Dataset, Finding, LabelRow, Rejection, Source, TensorRow
from imagetrail.files.form import Form
from imagetrail.params.machine import Machine
from imagetrail.params.preprocess import Limits, Preprocess
from imagetrail.preprocess import conflicts, health, readers
from imagetrail.preprocess.decode import Decoded
from imagetrail.preprocess.health import Facts, Survey
from imagetrail.preprocess.readers import Payload, Reader, Unreadable
from imagetrail.preprocess.workers import Alone, spread

IMAGES_PER_TASK = 64
"""Images in a worker's task: enough to hide the cost of the hand-over, few enough for memory."""


def sizes(root: Path, reader: Reader, options: Preprocess) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Choose the size that images are converted to, and the size that they must have.

    With a divisor both follow from the first readable image; images of another size will be rejected.

    Args:
        root: the repository's root.
        reader: of the pixels.
        options: section `preprocess` of params.yaml.

    Returns:
        ((height, width) of the tensors, (height, width) that images must have, or None for any), in pixels.

    Raises:
        DataError: no image is readable, or the divisor leaves nothing of it.
    """
    if options.size is not None:
        return options.size, None
    divisor = options.divisor
    assert divisor is not None, "params/preprocess.py: one of the two decides"
    for _, payload in reader(artifacts.read_labels(root)):
        try:
            whole = readers.size(payload)
        except DataError:
            continue
        height, width = (side // divisor for side in whole)
        if min(height, width) < 1:
            raise DataError(
                f"preprocess.divisor = {divisor} leaves nothing of {whole[0]} x {whole[1]} pixels; lower it."
            )
        return (height, width), whole
    raise DataError("no image of data/raw/labels.csv can be read, so preprocess.divisor has no size to divide.")


@dataclass(frozen=True)
class BuildPlan:
    """The request to `build`."""

    source: Source
    reader: Reader
    form: Form
    expected: tuple[int, int] | None
    """(height, width) in pixels that every image must have; None accepts any."""
    max_rejected: int
    limits: Limits
    on_conflict: Literal["fail", "drop"]
    machine: Machine


def build(root: Path, plan: BuildPlan) -> Indices:
    """Decode every row of labels.csv into data/tensors.

    Returns:
        int64 [N,2]: height and width in pixels of each image before resizing.

    Raises:
        DataError: one class only; equal images with different labels, and `on_conflict` is fail: data/conflicts.csv
            then lists them; more images than `max_rejected` cannot be used: data/rejected.csv then lists them with
            their reasons; more of a kind are suspicious than `limits` allow: data/findings.csv then lists them.
    """
    total, classes = _survey(root)
    with artifacts.writing_folder(root / artifacts.TENSORS) as folder:
        rejected, counts, survey = _write(root, folder, plan, total, classes, frozenset())
        found = conflicts.find(folder)
        problems = [
            _too_many(root, rejected, total, plan.max_rejected),
            conflicts.refusal(root, found) if plan.on_conflict == "fail" else None,
        ]
        if any(problems):
            raise DataError("\n".join(filter(None, problems)))
        if found:
            conflicts.leave_out(folder, found)
            left_out = frozenset(conflict.image for conflict in found)
            rejected, counts, survey = _write(root, folder, plan, total, classes, left_out)
        if empty := [name for name in classes if not counts[name]]:
            raise DataError(f"the class {empty[0]!r} has no usable image left; fix its images, or drop the class.")
        artifacts.carry_columns(root / artifacts.RAW, folder)
        artifacts.write_rows(folder / "rejected.csv", Rejection._fields, rejected)
        findings = _examine(root, folder, survey, plan.limits)
        dataset = Dataset(
            source=plan.source.source,
            classes=classes,
            counts={name: counts[name] for name in classes},
            shape=[counts.total(), plan.form.channels, *plan.form.size],
            short_side=plan.form.short_side,
            rejected=len(rejected),
            sizes=survey.sizes(),
            findings=findings,
            sha256=artifacts.file_sha256(folder / "rows.csv"),
            value_range=None if plan.form.value_range is None else list(plan.form.value_range),
            recognised=plan.source.recognised,
            corrections=plan.source.corrections,
            arrays={name: artifacts.file_sha256(folder / name) for name in ("images.npy", "labels.npy")},
        )
        artifacts.write_dataset(folder / "dataset.json", dataset)
    return survey.shapes


def _too_many(root: Path, rejected: list[Rejection], total: int, allowed: int) -> str | None:
    """Write data/rejected.csv and say why more images cannot be used than are allowed; None if they are not."""
    if len(rejected) <= allowed:
        (root / artifacts.REJECTED).unlink(missing_ok=True)
        return None
    artifacts.write_rows(root / artifacts.REJECTED, Rejection._fields, rejected)
    worst = rejected[0]
    return (
        f"{len(rejected)} of {total} images cannot be used and preprocess.max_rejected allows {allowed}: "
        f"{artifacts.REJECTED} lists them, first {worst.image!r} ({worst.reason}); fix them, or raise "
        "preprocess.max_rejected."
    )


def _survey(root: Path) -> tuple[int, list[str]]:
    """Return (rows, sorted class names) of labels.csv; reject a single class."""
    counts = Counter(row.label for row in artifacts.read_labels(root))
    if len(counts) < 2:
        raise DataError(f"all images have one label, {next(iter(counts), '')!r}; a classifier needs two classes.")
    return counts.total(), sorted(counts)


def _examine(root: Path, folder: Path, survey: Survey, limits: Limits) -> dict[str, int | None]:
    """Write findings.csv and return the number of each kind, None if the check did not run."""
    images = np.load(folder / "images.npy", mmap_mode="r")
    compared = len(images) <= health.COMPARED
    if not compared and limits.near_duplicate is not None:
        raise DataError(
            f"preprocess.limits.near_duplicate = {limits.near_duplicate} cannot be held: {len(images):,} images are "
            f"too many to compare, {health.COMPARED:,} at most; set it to null."
        )
    found = list(survey.odd_ones(images))
    findings = health.name(found, artifacts.tensor_rows(folder))
    artifacts.write_rows(folder / "findings.csv", Finding._fields, findings)
    kinds = Counter(finding.kind for finding in findings)
    for kind, limit in limits.by_kind().items():
        if limit is not None and kinds[kind] > limit:
            artifacts.write_rows(root / artifacts.FINDINGS, Finding._fields, findings)
            worst = next(finding for finding in findings if finding.kind == kind)
            raise DataError(
                f"{kinds[kind]} images are of the kind {kind!r} and preprocess.limits allows {limit}: "
                f"{artifacts.FINDINGS} lists them, first {worst.image!r}; fix them, or raise the limit."
            )
    (root / artifacts.FINDINGS).unlink(missing_ok=True)
    if findings:
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        warn(f"some images are usable but suspicious: {counted}; data/tensors/findings.csv lists them.")
    return {kind: kinds[kind] if compared or kind != "near duplicate" else None for kind in health.KINDS}


def _write(
    root: Path, folder: Path, plan: BuildPlan, total: int, classes: list[str], left_out: Set[str]
) -> tuple[list[Rejection], Counter[str], Survey]:
    """Write images.npy, labels.npy and rows.csv in one pass, without the images whose names are in `left_out`.

    Returns:
        (rejected images, number of images of each class, facts remembered of the images).
    """
    codes = {name: code for code, name in enumerate(classes)}
    rejected: list[Rejection] = []
    counts: Counter[str] = Counter()
    survey = Survey(plan.form)
    with (
        arrays.NpyWriter(folder / "images.npy", (plan.form.channels, *plan.form.size), np.uint8) as pixel_file,
        arrays.NpyWriter(folder / "labels.npy", (), np.int64) as label_file,
    ):

        def accepted() -> Iterator[TensorRow]:
            line = 1  # the header of labels.csv
            with bar("preprocess", total=total, unit="image") as moving:
                for chunk in _decode(artifacts.read_labels(root), plan, left_out):
                    pixel_file.append(chunk.pixels)
                    used = [row.label for row, image in chunk.images if not isinstance(image, str)]
                    label_file.append(np.array([codes[label] for label in used], np.int64))
                    counts.update(used)
                    for row, image in chunk.images:
                        line += 1
                        if row.image in left_out:
                            continue
                        if isinstance(image, str):
                            rejected.append(Rejection(row.image, line, image))
                            continue
                        survey.add(row.image, image)
                        yield TensorRow(row.image, row.label, row.split, row.group, image.sha256)
                    moving.update(len(chunk.images))

        artifacts.write_rows(folder / "rows.csv", TensorRow._fields, accepted())
    return rejected, counts, survey


Batch = list[tuple[LabelRow, Payload]]
"""The images that a worker decodes at a time."""
LEFT_OUT = Unreadable("left out")
DEADLY = Unreadable("decoding it kills the process; the file is damaged, or made to do harm")


class Chunk(NamedTuple):
    """A worker's result for one task."""

    pixels: Pixels
    """uint8 [n,C,H,W] of the n rows that can be used."""
    images: list[tuple[LabelRow, Facts | str]]
    """Every row with its facts, or with the reason if it cannot be used."""


def _decode(rows: Iterable[LabelRow], plan: BuildPlan, left_out: Set[str]) -> Iterator[Chunk]:
    """Decode all rows but those left out in parallel, and yield them in order."""
    decode = partial(_decode_chunk, form=plan.form, expected=plan.expected)
    payloads = ((row, LEFT_OUT if row.image in left_out else payload) for row, payload in plan.reader(rows))
    yield from spread(decode, _chunks(payloads), plan.machine, partial(_rescue, decode))


def _rescue(decode: Callable[[Batch], Chunk], task: Batch) -> Chunk:
    """Decode a task's images one by one in a process of their own, and reject those that kill it."""
    alone = Alone()
    try:
        results = [alone.run(decode, [image]) for image in task]
    finally:
        alone.close()
    decoded = [chunk or decode([(row, DEADLY)]) for chunk, (row, _) in zip(results, task, strict=True)]
    return Chunk(
        np.concatenate([chunk.pixels for chunk in decoded]), [image for chunk in decoded for image in chunk.images]
    )


def _chunks(rows: Iterator[tuple[LabelRow, Payload]]) -> Iterator[Batch]:
    while chunk := list(islice(rows, IMAGES_PER_TASK)):
        yield chunk


def _decode_chunk(chunk: Batch, form: Form, expected: tuple[int, int] | None) -> Chunk:
    decoded: list[Decoded] = []
    reasons: dict[str, str] = {}
    for row, payload in chunk:
        try:
            decoded.append(readers.pixels(row, payload, form, expected))
        except DataError as error:
            reasons[row.image] = str(error)
    if not decoded:
        nothing = np.empty((0, form.channels, *form.size), np.uint8)
        return Chunk(nothing, [(row, reasons[row.image]) for row, _ in chunk])
    pixels = np.stack([image.pixels for image in decoded])
    facts = iter(health.facts(decoded, pixels))
    return Chunk(pixels, [(row, reasons[row.image] if row.image in reasons else next(facts)) for row, _ in chunk])
