"""What bits that do not depend on the number of processes cost, against torch's DistributedDataParallel.

Both train mnist-cnn's network on made-up images in two processes of one thread each, in turns; DistributedDataParallel
adds gradients in its own order while the backward pass runs, and takes the statistics of one process.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bench.peers import work
from bench.table import Row
from imagetrail.train.processes import Group
from imagetrail.train.shards import Shards

ROUNDS, STEPS, PROCESSES = 5, 12, 2


def measure() -> list[Row]:
    """Run both ways under torchrun, in turns."""
    rates: dict[str, list[float]] = {"ours": [], "ddp": [], "alone": []}
    for _ in range(ROUNDS):
        for way, found in rates.items():
            found.append(_rate(way))
    shown = {
        way: f"{statistics.median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f})" for way, found in rates.items()
    }
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["ddp"])
    measured = (
        f"{shown['ours']} images a second, DistributedDataParallel {shown['ddp']}: {ratio:.2f} times; one process with "
        f"the same shards {shown['alone']}"
    )
    return [Row("mnist-cnn in two processes with a fixed order of sums", measured, "stated", True)]


def _rate(way: str) -> float:
    processes = 1 if way == "alone" else PROCESSES
    command = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "bench.shards", way]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return float(done.stdout.splitlines()[-1])


def _work(way: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)
    model, loss = work.network("mnist-cnn").to(memory_format=torch.channels_last), nn.CrossEntropyLoss(reduction="sum")
    trained = DistributedDataParallel(model) if way == "ddp" else model
    optimizer = work.optimizer("mnist-cnn", model)
    images, labels = (torch.from_numpy(values) for values in work.images("mnist-cnn"))
    batch = np.arange(work.BATCH["mnist-cnn"])
    shards = Shards(model, PROCESSES, Group(rank, size, rank))

    def backward(rows: np.ndarray, count: int) -> None:
        pixels = (images[rows][:, None] / 255).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = trained(pixels)
        (loss(logits.float(), labels[rows]) / count).backward()

    begin = 0.0
    for step in range(2 + STEPS):
        if step == 2:
            begin = time.perf_counter()
        if way == "ddp":
            optimizer.zero_grad()
            backward(batch[rank::size], len(batch) // size)
        else:
            for part in shards.parts((0, step)):
                backward(batch[part::PROCESSES], len(batch))
        optimizer.step()
    if rank == 0:
        print(STEPS * len(batch) / (time.perf_counter() - begin))
    distributed.destroy_process_group()


if __name__ == "__main__":
    sys.path.insert(0, str(Path("src").resolve()))
    _work(sys.argv[1])
