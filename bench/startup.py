"""Time the imports of the light stages: `download` and `split` must not pay for torch."""

import subprocess
import sys

from bench.table import Row

PROBE = """
import sys, time
begin = time.perf_counter()
from stages import {stage}
from imagetrail.params import load_params
from pathlib import Path
load_params(Path())
print(time.perf_counter() - begin, "torch" in sys.modules)
"""


def measure() -> list[Row]:
    """Time imports and reading parameters for each stage, in a new process."""
    rows = []
    for stage in ("download", "preprocess", "split"):
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(stage=stage)], capture_output=True, text=True, check=True
        )
        seconds, torch = done.stdout.split()
        rows.append(
            Row(f"`{stage}` starts", f"{float(seconds):.2f} s, torch: {torch}", "without torch", torch == "False")
        )
    return rows
