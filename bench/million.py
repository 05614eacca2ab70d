"""Every stage on 10,000, 100,000 and 1,000,000 pictures of 64 pixels, the most under a memory limit.

`python -m bench million [FOLDER]` needs some 20 GB and half an hour; FOLDER keeps the pictures for the next time. Time
is linear where the marginal images a second, those between two sizes, agree. On a machine that lets the bench make a
memory cgroup, the largest size runs in one that allows 300 MiB more than the smallest took, page cache included, so
that files do not stay in memory from stage to stage.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import simplejpeg
from ruamel.yaml import YAML

from bench.table import Row

SIZES = (10_000, 100_000, 1_000_000)
STAGES = ("download", "preprocess", "split", "train", "evaluate")
CLASSES, SIDE, FOLDERS, EXTRA = 10, 64, 1_000, 300 << 20
LOOK = 0.05
"""Seconds between two looks at the memory."""
CGROUPS = Path("/sys/fs/cgroup/memory")
CHANGES = {
    "download": {"source": "csv"},
    "preprocess": {"image_size": SIDE, "channels": 3},
    "split": {"val": 0.01},
    "model": {
        "name": "PlainCNN",
        "weights": None,
        "widths": [8],
        "padding": 1,
        "pool_after": [1],
        "batch_norm": True,
        "hidden": [],
        "dropout": 0.0,
    },
    "train": {"epochs": 1, "batch_size": 512, "arithmetic": "native", "schedule": None},
}


class Spent(NamedTuple):
    """What a stage took."""

    seconds: float
    peak: int
    """Bytes of memory of all its processes that no file backs."""


def measure(folder: str | None = None) -> list[Row]:
    """Run the stages at every size."""
    with tempfile.TemporaryDirectory() as name:
        spent: dict[str, list[Spent]] = {stage: [] for stage in STAGES}
        limited = False
        for size in SIZES:
            root = _clone(Path(folder or name), size)
            for stage in STAGES:
                limit = spent[stage][0].peak + EXTRA if size == SIZES[-1] else None
                with _cgroup(limit) as group:
                    limited = limited or group is not None
                    spent[stage].append(_run(root, stage, group))
                print(f"{stage} of {size:,}: {spent[stage][-1]}, limit {limit if limited else None}", flush=True)
    return [row for stage in STAGES for row in _rows(stage, spent[stage], limited)]


def _rows(stage: str, spent: list[Spent], limited: bool) -> Iterator[Row]:
    small, *_, large = (part.peak / 2**20 for part in spent)
    under = f", under a limit of {small + EXTRA / 2**20:.0f} MiB" if limited else ""
    sizes = f"{SIZES[0]:,} and {SIZES[-1]:,}"
    yield Row(
        f"peak memory of `{stage}` at {sizes} images", f"{small:.0f} and {large:.0f} MiB{under}",
        "within 300 MiB", large - small < EXTRA / 2**20,
    )  # fmt: skip
    rates = [
        (SIZES[i + 1] - SIZES[i]) / (spent[i + 1].seconds - spent[i].seconds) for i in range(len(SIZES) - 1)
    ]  # fmt: skip
    seconds = ", ".join(f"{part.seconds:.1f}" for part in spent)
    yield Row(
        f"`{stage}`: seconds, and images a second between the sizes",
        f"{seconds} s; {', '.join(f'{rate:,.0f}' for rate in rates)}",
        "the last within 10 %", rates[-1] >= 0.9 * rates[-2],
    )  # fmt: skip


def _clone(folder: Path, size: int) -> Path:
    root = folder / f"{size}"
    if not root.exists():
        subprocess.run(["git", "clone", "--quiet", ".", str(root)], check=True)
        _draw(root / "data/source", size)
    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    for section, values in CHANGES.items():
        params[section] |= values
    params["model"] = CHANGES["model"]
    yaml.dump(params, root / "params.yaml")
    return root


def _draw(folder: Path, size: int) -> None:
    """Write the table and smooth noise as JPEG, some 1.5 kB each."""
    for number in range(FOLDERS):
        (folder / f"{number:03d}").mkdir(parents=True)
    random = np.random.default_rng(0)
    with (folder / "labels.csv").open("w") as table:
        table.write("image,label\n")
        for number in range(size):
            coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            name = f"{number % FOLDERS:03d}/{number:07d}.jpg"
            pixels = np.ascontiguousarray(coarse.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1))
            (folder / name).write_bytes(simplejpeg.encode_jpeg(pixels, quality=75))
            table.write(f"{name},class{number % CLASSES}\n")


@contextmanager
def _cgroup(limit: int | None) -> Iterator[Path | None]:
    """Make a memory cgroup where this machine allows it."""
    group = CGROUPS / f"bench-million-{os.getpid()}"
    if limit is None or not os.access(CGROUPS, os.W_OK):
        yield None
        return
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        yield group
    finally:
        while (group / "cgroup.procs").read_text():  # workers that are about to end
            time.sleep(LOOK)
        group.rmdir()


def _run(root: Path, stage: str, group: Path | None) -> Spent:
    """Run a stage from a cold page cache where root may empty it, and watch the memory of its processes."""
    os.sync()
    caches = Path("/proc/sys/vm/drop_caches")
    if os.access(caches, os.W_OK):
        caches.write_text("3")
    command = [sys.executable, "-m", f"stages.{stage}"]
    if group is not None:
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("MLFLOW_", "DVC_"))}
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=root, env=environment | {"PYTHONPATH": str(root / "src")})
    peak = 0
    while process.poll() is None:
        peak = max(peak, _anonymous(process.pid))
        time.sleep(LOOK)
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{stage} in {root} ended with {process.returncode}")
    return Spent(seconds, peak)


def _anonymous(pid: int) -> int:
    total = 0
    try:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            fields = Path(f"/proc/{process.pid}/status").read_text().split()
            total += 1024 * sum(int(fields[fields.index(name) + 1]) for name in ("RssAnon:", "RssShmem:"))
    except (psutil.NoSuchProcess, OSError, ValueError):  # it has just ended
        return 0
    return total
