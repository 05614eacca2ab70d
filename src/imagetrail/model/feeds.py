"""Bring batches to the device: from its own memory where the images fit there, and otherwise while it computes."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagetrail.files.arrays import Indices, Subset

Arrays: TypeAlias = tuple[npt.NDArray[Any], ...]
Tensors: TypeAlias = tuple[Tensor, ...]

RESIDENT = 0.5
"""Share of a GPU's free memory that the images of a subset may take; the rest is for computing."""
AHEAD = 2
"""Batches that are on their way to a GPU while it computes one."""
COPIED_ROWS = 4096
"""Rows that are copied at once when a subset moves to a GPU."""


class Feed:
    """The batches of a subset, on the device."""

    def __init__(self, subset: Subset, device: torch.device) -> None:
        """Copy the subset to the device's memory if it fits; the caller goes through it more than once."""
        self._subset, self._device = subset, device
        self._resident = _copied(subset, device) if fits(subset, device) else None

    def batches(self, batches: Iterable[Indices]) -> Iterator[Tensors]:
        """Yield (pixels uint8 [n,C,H,W] or features float32 [n,D], labels int64 [n]) of each batch of the rows.

        Args:
            batches: int64 [n] each, rows of the tensors that belong to the subset.
        """
        if self._resident is None:
            yield from moved(((self._subset.read(rows), self._subset.labels[rows]) for rows in batches), self._device)
        else:
            positions = ((np.searchsorted(self._subset.rows, rows),) for rows in batches)
            for (chosen,) in moved(positions, self._device):
                yield tuple(values[chosen] for values in self._resident)


def fits(subset: Subset, device: torch.device) -> bool:
    """Return whether a subset's images may stay in a GPU's memory; a CPU reads the memory map as fast."""
    if device.type == "cpu":
        return False
    row = subset.images.dtype.itemsize * int(np.prod(subset.images.shape[1:]))
    return len(subset) * row <= RESIDENT * torch.cuda.mem_get_info(device)[0]


def moved(batches: Iterable[Arrays], device: torch.device) -> Iterator[Tensors]:
    """Yield each batch on the device: to a GPU they are read and sent ahead, in a thread and a stream of their own.

    Args:
        batches: arrays of any shapes and dtypes.
        device: where they go.
    """
    if device.type == "cpu":
        yield from (tuple(map(torch.from_numpy, arrays)) for arrays in batches)
    else:
        yield from sent_ahead(batches, device)


def sent_ahead(batches: Iterable[Arrays], device: torch.device) -> Iterator[Tensors]:
    """Yield each batch on the device while a thread reads and sends the next ones."""
    waiting = iter(batches)
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send() -> Tensors | None:
        arrays = next(waiting, None)
        if arrays is None:
            return None
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            tensors = tuple(_sent(array, device) for array in arrays)
        if stream is not None:  # from pinned memory the copy runs by itself; it must end before its batch is used
            stream.synchronize()
        return tensors

    with ThreadPoolExecutor(1, "feed") as pool:
        coming = deque(pool.submit(send) for _ in range(AHEAD))
        while (tensors := coming.popleft().result()) is not None:
            coming.append(pool.submit(send))
            for tensor in tensors if stream is not None else ():  # its memory is free again once this stream is done
                tensor.record_stream(torch.cuda.current_stream(device))
            yield tensors


def _sent(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _copied(subset: Subset, device: torch.device) -> Tensors:
    images = torch.empty(
        (len(subset), *subset.images.shape[1:]), dtype=torch.from_numpy(subset.images[:0]).dtype, device=device
    )
    for start in range(0, len(subset), COPIED_ROWS):
        rows = subset.rows[start : start + COPIED_ROWS]
        images[start : start + COPIED_ROWS] = _sent(subset.read(rows), device)
    return images, _sent(subset.labels[subset.rows], device)
