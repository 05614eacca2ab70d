"""Peak memory of preprocess and split at 10,000 and at 200,000 images."""

import subprocess
import sys
import tempfile

from bench.table import Row

SIZES = (10_000, 200_000)

PREPARE = """
import hashlib, shutil, sys
import numpy as np
from pathlib import Path
from stages import download  # puts src on the path
from imagetrail.files import arrays, artifacts
root, count = Path(sys.argv[1]), int(sys.argv[2])
shutil.copy("params.yaml", root)
raw = root / "data/raw"
raw.mkdir(parents=True)
random = np.random.default_rng(0)
with arrays.NpyWriter(raw / "images.npy", (28, 28), np.uint8) as writer:
    def rows():
        for number in range(count):
            pixels = random.integers(0, 256, (28, 28), dtype=np.uint8)
            writer.append(pixels[None])
            digest = hashlib.sha256(pixels).hexdigest()
            yield artifacts.LabelRow(f"{number:07d}", str(number % 10), "", "", "784", digest)
    artifacts.write_rows(raw / "labels.csv", artifacts.LabelRow._fields, rows())
"""

RUN = """
import resource, sys
from pathlib import Path
from stages import {stage}
{stage}.main(Path(sys.argv[1]))
if {stage!r} == "preprocess":  # a worker's peak is known once it has ended
    from joblib.externals.loky import get_reusable_executor
    get_reusable_executor().shutdown(wait=True)
# Not rusage's: a new process inherits the peak of the one that started it.
own = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(own / 1024, workers / 1024)
"""


def measure() -> list[Row]:
    """Return the peak resident memory of the stage's process and of its largest worker, in MiB."""
    peaks: dict[str, list[tuple[float, float]]] = {"preprocess": [], "split": []}
    for count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            _python(PREPARE, folder, str(count))
            for stage, values in peaks.items():
                own, workers = map(float, _python(RUN.format(stage=stage), folder).split())
                values.append((own, workers if stage == "preprocess" else 0.0))
    rows = []
    for stage, ((own, worker), (own_large, worker_large)) in peaks.items():
        growth = max(own_large - own, worker_large - worker)
        workers = f", worker {worker:.0f} and {worker_large:.0f} MiB" if worker else ""
        rows.append(
            Row(
                f"peak memory of `{stage}` at {SIZES[0]:,} and {SIZES[1]:,} images",
                f"{own:.0f} and {own_large:.0f} MiB{workers}",
                "does not grow (under 20 MiB)",
                growth < 20,
            )
        )
    return rows


def _python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
