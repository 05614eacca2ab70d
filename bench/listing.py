"""`download` of local images: 100,000 files listed, and a table of a million rows."""

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.table import Row

FILES, ROWS = 100_000, 1_000_000
RUN = """
import sys, time
from pathlib import Path
from stages import download
def peak():  # not rusage's: a new process inherits the peak of the one that started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
before, begin = peak(), time.perf_counter()
download.main(Path(sys.argv[1]))
print(time.perf_counter() - begin, peak() - before)
"""


def measure() -> list[Row]:
    """Measure seconds for the files, and for the rows the memory beyond that of the imports."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _params(root, "folder")
        for number in range(FILES):
            folder = root / f"data/source/class{number % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:06d}.jpg").write_bytes(number.to_bytes(4, "big") * 512)
        seconds, _ = _download(root)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _params(root, "csv")
        (root / "data/source").mkdir(parents=True)
        with (root / "data/source/labels.csv").open("w") as file:
            file.write("image,label\n")
            file.writelines(f"{number:07d}.jpg,class{number % 10}\n" for number in range(ROWS))
        row_seconds, mebibytes = _download(root)
    return [
        Row(f"`download` of {FILES:,} files of 2 kB in class folders", f"{seconds:.1f} s", "seconds", seconds < 30),
        Row(
            f"`download` of a table of {ROWS:,} rows",
            f"{mebibytes:.0f} MiB more, {row_seconds:.0f} s",
            "under 200 MB",
            mebibytes < 190,
        ),
    ]


def _params(root: Path, source: str) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(text.replace("source: digits", f"source: {source}"), encoding="utf-8")


def _download(root: Path) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", RUN, str(root)], check=True, stdout=subprocess.PIPE, text=True)
    seconds, mebibytes = map(float, done.stdout.split())
    return seconds, mebibytes
