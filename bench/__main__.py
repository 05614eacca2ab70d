"""Print and write the benchmarks: `make bench`, or `python -m bench NAME…` for some of them."""

import os
import platform
import sys
from pathlib import Path

from bench import augment, fuzz, listing, memory, own_data, peers, preprocess, repro, shards, startup
from bench.table import Row, show

BENCHMARKS = {
    "repro": repro.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "listing": listing.measure,
    "augment": augment.measure,
    "preprocess": preprocess.measure,
    "fuzz": fuzz.measure,
    "own-data": own_data.measure,
    "peers": peers.measure,
    "shards": shards.measure,
}
LONG = {"own-data", "peers", "shards"}
"""Run by name only."""


def main() -> None:
    """Run the named benchmarks, or all of them, in a fresh clone; write bench/results/latest.md."""
    names = sys.argv[1:] or [name for name in BENCHMARKS if name not in LONG]
    rows: list[Row] = []
    for name in names:
        rows += BENCHMARKS[name]()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    heading = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {cores} cores"
    text = show(heading, rows)
    print(text)
    folder = Path("bench/results")
    folder.mkdir(exist_ok=True)
    (folder / "latest.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
