"""The arrays among the artifacts: written row by row and read as memory maps, so that memory use is constant."""

import mmap as mmap_module
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from imagetrail.files import artifacts
from imagetrail.files.artifacts import Dataset, reading

CACHED_BYTES = 1 << 28
"""Bytes above which an array may not stay in the page cache."""

Rows = Literal["train", "val", "test"]
Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subset:
    """Rows of the tensors, left on disk: images are read as they are indexed."""

    dataset: Dataset
    images: npt.NDArray[Any]
    """uint8 [N,C,H,W], memory-mapped: all rows, also those of other subsets; or features, float32 [N,D]."""
    labels: Indices
    """int64 [N], memory-mapped: all rows."""
    rows: Indices
    """int64 [n], sorted: the rows of this subset."""

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Indices) -> npt.NDArray[Any]:
        """Return the images of some rows, int64 [n]; a large file is asked for all of them before the first is read."""
        if len(rows) and isinstance(self.images.base, mmap) and self.images.nbytes > CACHED_BYTES:
            _ask_for(self.images, self.images.base, rows)
        return self.images[rows]


def _ask_for(array: npt.NDArray[Any], mapped: mmap, rows: Indices) -> None:
    """Let the kernel read rows of a memory map at the same time, and nothing around them.

    Otherwise pages are read when they are touched, one after the other and each with its neighbours: a cold disk then
    gives hundreds of images a second instead of ten thousands. Systems without these calls read as they touch.
    """
    if not hasattr(mmap_module, "MADV_WILLNEED"):
        return
    mapped.madvise(mmap_module.MADV_RANDOM)
    size, begin = array[0].nbytes, array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    ordered = np.unique(rows)
    breaks = np.flatnonzero(np.diff(ordered) > 1) + 1
    for run in np.split(ordered, breaks):
        start = begin + int(run[0]) * size
        page = start - start % mmap_module.PAGESIZE
        mapped.madvise(mmap_module.MADV_WILLNEED, page, begin + (int(run[-1]) + 1) * size - page)


class NpyWriter:
    """Appends rows to a .npy file whose number of rows is known at the end.

    Rows go through ordinary writes, not through a memory map, so that memory does not grow with the file.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        """Open `path` for rows of `row_shape` and `dtype`."""
        self._file = path.open("wb")
        self._row_shape = row_shape
        self._dtype = np.dtype(dtype)
        self.count = 0
        self._write_header()

    def _write_header(self) -> None:
        # NumPy pads the header for the growth of the first axis, so the final one has the same length.
        self._file.seek(0)
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False}
        npy.write_array_header_1_0(self._file, header | {"shape": (self.count, *self._row_shape)})

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Append rows: [n, *row_shape] of the writer's dtype."""
        assert rows.shape[1:] == self._row_shape and rows.dtype == self._dtype
        self._file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._write_header()


def open_array(path: Path, made_by: str, dtype: npt.DTypeLike, shape: Sequence[int | None] | None) -> npt.NDArray[Any]:
    """Open a .npy file as a memory map.

    Args:
        path: the file.
        made_by: the stage that writes it, for the message.
        dtype: that it must have.
        shape: that it must have; None is any length, or any shape.

    Raises:
        ArtifactError: the file is missing, is damaged, or holds another kind of array.
    """
    with reading(path, made_by):
        array = npy.open_memmap(path, mode="r")
        wanted = array.shape if shape is None else tuple(shape)
        fits = len(array.shape) == len(wanted) and all(n in (None, m) for n, m in zip(wanted, array.shape, strict=True))
        if array.dtype != dtype or not fits:
            raise ValueError(f"it holds {array.dtype} {list(array.shape)}, not {np.dtype(dtype)} {list(wanted)}")
        return array


def open_tensors(root: Path) -> tuple[Dataset, Pixels, Indices]:
    """Open data/tensors: the data set, uint8 [N,C,H,W] images and int64 [N] labels."""
    dataset, folder = artifacts.read_dataset(root), root / artifacts.TENSORS
    images = open_array(folder / "images.npy", "preprocess", np.uint8, dataset.shape)
    return dataset, images, open_array(folder / "labels.npy", "preprocess", np.int64, dataset.shape[:1])


def open_subset(root: Path, rows: Rows) -> Subset:
    """Open the rows that `split` chose, with images and labels as memory maps."""
    dataset, images, labels = open_tensors(root)
    path = root / artifacts.SPLIT / f"{rows}.npy"
    indices = np.array(open_array(path, "split", np.int64, [None]))
    with reading(path, "split"):
        if (np.diff(indices) <= 0).any() or (len(indices) and not 0 <= indices[0] <= indices[-1] < len(images)):
            raise ValueError(f"its rows are not in order, or not those of {len(images)} images")
    return Subset(dataset, images, labels, indices)
