"""Where labelled images come from: one file a source, one row a source in the table below.

A source takes a request and yields the rows of labels.csv, sorted by image. It leaves pixels where they are (local
files, whose names start from `download.path`), or puts them under `images/` (files it fetched or made) or into
`images.npy` (one array, whose rows are in the order of the names).
"""

from collections.abc import Callable, Iterable, Mapping

from imagetrail.artifacts import LabelRow
from imagetrail.sources import archive, csv, digits, folder, named, parquet, photographs
from imagetrail.sources.request import Request

SOURCES: Mapping[str, Callable[[Request], Iterable[LabelRow]]] = {
    "digits": digits.load,
    "csv": csv.load,
    "folder": folder.load,
    "archive": archive.load,
    "parquet": parquet.load,
    "MNIST": named.load,
    "FashionMNIST": named.load,
    "KMNIST": named.load,
    "CIFAR10": named.load,
    "CIFAR100": named.load,
    **dict.fromkeys(photographs.SPLITS, photographs.load),
}
