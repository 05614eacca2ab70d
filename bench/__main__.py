"""Print and write the benchmarks: `make bench`, or `python -m bench NAME…` for some of them."""

import os
import platform
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # of a bare checkout, into which nothing is installed

from bench.table import Row, show  # noqa: E402

ALL = ("repro", "startup", "memory", "listing", "augment", "preprocess", "fuzz")
LONG = ("own-data", "peers", "shards", "overhead", "cuda", "million", "label-errors", "first-figure", "serving")
"""Run by name only."""


def main() -> None:
    """Run the named benchmarks, or all of them, in a fresh clone; write bench/results/latest.md.

    A word other than a benchmark's name is an argument of the benchmark before it.
    """
    asked: list[tuple[str, list[str]]] = []
    for word in sys.argv[1:] or ALL:
        if word in (*ALL, *LONG):
            asked.append((word, []))
        elif asked:
            asked[-1][1].append(word)
        else:
            raise SystemExit(f"there is no benchmark {word!r}, only {', '.join((*ALL, *LONG))}.")
    rows: list[Row] = []
    for name, arguments in asked:  # imported one by one, since some need few packages
        rows += import_module(f"bench.{name.replace('-', '_')}").measure(*arguments)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    heading = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {cores} cores"
    text = show(heading, rows)
    print(text)
    folder = Path("bench/results")
    folder.mkdir(exist_ok=True)
    (folder / "latest.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
