"""The sources of labelled images: one file and one row of the table below for each.

A source takes a job and yields the rows of labels.csv, sorted by image. It leaves pixels where they are (local
files, whose names start from `download.path`), or puts them under `images/` (files it fetched or made) or into
`images.npy` (one array, whose rows are in the order of the names).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from imagetrail.console import announce
from imagetrail.download import archive, digits, folders, parquet, table, torchvision_arrays, torchvision_photographs
from imagetrail.download.job import SourceJob
from imagetrail.download.reading import UNSET, settings
from imagetrail.download.relabel import Corrections
from imagetrail.files.artifacts import LabelRow, Source
from imagetrail.params.download import Download

SOURCES: Mapping[str, Callable[[SourceJob], Iterable[LabelRow]]] = {
    "digits": digits.load,
    "csv": table.load,
    "folder": folders.load,
    "archive": archive.load,
    "parquet": parquet.load,
    "MNIST": torchvision_arrays.load,
    "FashionMNIST": torchvision_arrays.load,
    "KMNIST": torchvision_arrays.load,
    "CIFAR10": torchvision_arrays.load,
    "CIFAR100": torchvision_arrays.load,
    **dict.fromkeys(torchvision_photographs.SPLIT_NAMES, torchvision_photographs.load),
}


def load(job: SourceJob) -> tuple[Source, Iterable[LabelRow]]:
    """Return the source with its options, those that `auto` recognised included, and the rows of labels.csv.

    Corrections are applied, which `auto` does not look at.

    Raises:
        DataError: relabel.csv cannot be read, or the source refuses.
    """
    recognised: dict[str, dict[str, object]] = {}
    if job.options.source == "auto":
        from imagetrail.download.recognise import recognise  # which few runs need

        reading = recognise(job.local)
        announce(f"download.source = auto reads {reading.text}: {settings(reading)}.")
        for sentence in reading.odd:
            announce(f"{sentence}.")
        job = replace(job, options=Download.model_validate(job.options.model_dump() | UNSET | reading.options))
        recognised = {
            name: {"value": value, "reason": reading.reasons[name]} for name, value in reading.options.items()
        }
    options = job.options
    column = str(options.image_column) if options.source == "parquet" else None
    corrections = Corrections.read(job.root, options.corrections)
    rows = SOURCES[options.source](job)
    source = Source(options.source, column, recognised, corrections.counts)
    return source, corrections.apply(rows) if corrections.by_image else rows
