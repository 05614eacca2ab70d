"""Rows of a large file: the right ones, and no more of the disk than they need."""

import ctypes
import mmap
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from imagetrail.files import arrays
from imagetrail.files.arrays import NpyWriter, Subset
from imagetrail.files.artifacts import Dataset

SHAPE = (3, 32, 32)
PAGES = -(-int(np.prod(SHAPE)) // mmap.PAGESIZE) + 1
"""Pages that a row can touch."""


@pytest.fixture
def subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subset:
    monkeypatch.setattr(arrays, "CACHED_BYTES", 0)
    random = np.random.default_rng(0)
    with NpyWriter(tmp_path / "images.npy", SHAPE, np.uint8) as writer:
        for _ in range(8):
            writer.append(random.integers(0, 256, (250, *SHAPE), dtype=np.uint8))
    images = arrays.open_array(tmp_path / "images.npy", "preprocess", np.uint8, [None, *SHAPE])
    dataset = Dataset("made-up", ["a"], {}, list(images.shape), None, 0, {}, {}, "", {})
    return Subset(dataset, images, np.zeros(len(images), np.int64), np.arange(len(images)))


@pytest.mark.parametrize("rows", [[0, 1, 2, 1998, 1999], [5, 3, 3, 1000], [], [1999]])
def test_the_rows_are_those_asked_for(subset: Subset, rows: list[int]) -> None:
    asked = np.array(rows, np.int64)
    assert np.array_equal(subset.read(asked), np.array(subset.images)[asked])


def test_rows_in_memory_are_read_too(subset: Subset) -> None:
    held = Subset(subset.dataset, np.array(subset.images), subset.labels, subset.rows)
    assert np.array_equal(held.read(np.array([7, 8])), subset.images[7:9])


@pytest.mark.skipif(sys.platform != "linux", reason="mincore and its flags are Linux's")
def test_a_cold_disk_gives_the_rows_and_not_their_neighbours(subset: Subset, tmp_path: Path) -> None:
    with (tmp_path / "images.npy").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(subset) > PAGES:
        pytest.skip("this file system keeps its files in memory")
    rows = np.arange(10, 2000, 250)
    subset.read(rows)
    assert len(rows) <= resident(subset) <= PAGES * (len(rows) + 1)


def resident(subset: Subset) -> int:
    """Count the pages of the file that are in memory."""
    mapped = np.frombuffer(subset.images.base, np.uint8)
    pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mincore(ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped)), pages) == 0
    return sum(page & 1 for page in pages)
