"""Where labelled images come from: one file a source, one row a source in the table below.

A source takes a request and returns the rows of labels.csv, in any order. It leaves pixels where they are (local
files), or puts them under `images/` (files it fetched or made) or into `images.npy` (one array, whose rows are in the
order of the sorted names).
"""

from collections.abc import Callable, Mapping

from imagetrail.artifacts import LabelRow
from imagetrail.sources import csv, digits, folder, named
from imagetrail.sources.request import Request

SOURCES: Mapping[str, Callable[[Request], list[LabelRow]]] = {
    "digits": digits.load,
    "csv": csv.load,
    "folder": folder.load,
    "MNIST": named.load,
    "FashionMNIST": named.load,
    "KMNIST": named.load,
    "CIFAR10": named.load,
    "CIFAR100": named.load,
}
