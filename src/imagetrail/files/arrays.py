"""The arrays among the artifacts: written row by row and read as memory maps, so that memory use is constant."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from imagetrail.files import artifacts
from imagetrail.files.artifacts import Dataset, reading

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


def open_subset(root: Path, rows: Rows) -> Subset:
    """Open the rows that `split` chose, with images and labels as memory maps."""
    with reading(root / artifacts.TENSORS, "preprocess") as folder:
        images = np.load(folder / "images.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy", mmap_mode="r")
    with reading(root / artifacts.SPLIT / f"{rows}.npy", "split") as path:
        indices = np.load(path)
    return Subset(artifacts.read_dataset(root), images, labels, indices)
