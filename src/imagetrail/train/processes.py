"""The processes that share a training, as torchrun started them; usually there is only this one."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from imagetrail.errors import TrainingError
from imagetrail.model import devices
from imagetrail.params.train import Train

WATCH = 0.1
"""Seconds between two looks at whether torchrun is alive."""


@dataclass(frozen=True)
class Group:
    """Processes that compute parts of the same batches and end with the same weights."""

    rank: int = 0
    """Of this process; the first one tracks the training."""
    size: int = 1
    local_rank: int = 0
    """Of this process on its machine; the first one there writes the files."""

    def add(self, values: Tensor) -> Tensor:
        """Add the values of all processes by recursive doubling; every process gets the same bits."""
        distance = 1
        while distance < self.size:
            values = values + self._exchange(values, self.rank ^ distance)
            distance *= 2
        return values

    def _exchange(self, values: Tensor, partner: int) -> Tensor:
        from torch import distributed

        theirs = torch.empty_like(values)
        try:
            exchange = [
                distributed.P2POp(distributed.isend, values, partner),
                distributed.P2POp(distributed.irecv, theirs, partner),
            ]
            for work in distributed.batch_isend_irecv(exchange):
                work.wait()
        except RuntimeError:
            _leave()
        return theirs

    def gather(self, values: Tensor) -> Tensor:  # [n,...] -> [size * n,...]
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return values
        from torch import distributed

        everyone = [torch.empty_like(values) for _ in range(self.size)]
        try:
            distributed.all_gather(everyone, values)
        except RuntimeError:
            _leave()
        return torch.cat(everyone)

    def newest(self, state: dict[str, Any] | None, epochs: int) -> dict[str, Any] | None:
        """Return the state of the process whose checkpoint has the most epochs, as each machine keeps its own."""
        if self.size == 1:
            return state
        from torch import distributed

        counts = self.gather(torch.tensor([epochs])).tolist()
        shared = [state]
        try:
            distributed.broadcast_object_list(shared, src=counts.index(max(counts)))
        except RuntimeError:
            _leave()
        return shared[0]


ALONE = Group()


def _leave() -> NoReturn:
    """End this process quietly: another one is gone, and torchrun, which is about to say so, starts all again."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(1) from None


def _end_with_parent() -> None:
    """End this process soon after torchrun, its parent, was killed: an orphan would write over the next training."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def joined(options: Train) -> Iterator[Group]:
    """Join the group that torchrun's variables describe; without them this process is alone.

    Raises:
        TrainingError: the number of processes does not divide the parts of a batch.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if options.shards % size:
        raise TrainingError(
            f"{size} processes cannot share train.shards = {options.shards} parts of a batch; set it to a power of two "
            f"from {size}, or start 1, 2, 4 … processes."
        )
    _end_with_parent()
    from torch import distributed

    device = devices.choose(options.device)
    backend = "gloo"
    if device.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    distributed.init_process_group(backend)
    try:
        yield Group(distributed.get_rank(), size, int(os.environ["LOCAL_RANK"]))
    finally:
        distributed.destroy_process_group()
