"""Memory does not grow with the data set: the peak of real processes, on a small and on a ten times larger one."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import REPOSITORY, set_params

from imagetrail.files import artifacts
from imagetrail.files.arrays import NpyWriter
from imagetrail.files.artifacts import LabelRow

CODE = f"""
import sys; sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / "src")!r}]
from pathlib import Path
from stages import preprocess, split
preprocess.main()
split.main()
print(Path("/proc/self/status").read_text())
"""


def peak(root: Path, images: int) -> int:
    """MiB at most of preprocess and split, on so many random images of 32 x 32 pixels."""
    (root / artifacts.RAW).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    with NpyWriter(root / artifacts.RAW / "images.npy", (32, 32, 3), np.uint8) as writer:
        for _ in range(images // 1000):
            writer.append(random.integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8))
    rows = (LabelRow(f"{n:06d}", "ab"[n % 2], "", "", "3072", f"{n:064x}") for n in range(images))
    artifacts.write_rows(root / artifacts.RAW / "labels.csv", LabelRow._fields, rows)
    artifacts.write_source(root / artifacts.RAW, artifacts.Source("CIFAR10", None, {}))
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) // 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells a process's own peak")
def test_memory_does_not_grow_with_the_number_of_images(root: Path) -> None:
    set_params(root, download__source="CIFAR10", preprocess__image_size=32, preprocess__channels=3)
    small, large = peak(root, 2_000), peak(root, 20_000)
    assert large - small < 40, "the array itself grows by 53 MiB"
