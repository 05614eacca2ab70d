"""The sources of labelled images: one file and one row of the table below for each.

A source takes a job and yields the rows of labels.csv, sorted by image. It leaves pixels where they are (local
files, whose names start from `download.path`), or puts them under `images/` (files it fetched or made) or into
`images.npy` (one array, whose rows are in the order of the names).
"""

from collections.abc import Callable, Iterable, Mapping

from imagetrail.download import archive, digits, folders, parquet, table, torchvision_arrays, torchvision_photographs
from imagetrail.download.job import SourceJob
from imagetrail.files.artifacts import LabelRow

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
