"""`make repro` on digits: the whole work, and the case with nothing to do against `dvc repro` of an empty pipeline."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Row, interleaved, spread

ROUNDS = 9
MAKE = ("make", "--old-file=.venv/installed")
"""The clone shares this environment, into which make must not install."""


def measure() -> list[Row]:
    """Measure in a fresh clone that shares this environment."""
    with tempfile.TemporaryDirectory() as folder:
        clone, empty = Path(folder) / "clone", Path(folder) / "empty"
        _run(Path(), "git", "clone", "--quiet", ".", str(clone))
        (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
        _run(clone, *MAKE, "setup")
        begin = time.perf_counter()
        _run(clone, *MAKE, "repro")
        work = time.perf_counter() - begin
        accuracy = json.loads((clone / "metrics/test.json").read_text())["accuracy"]

        empty.mkdir()
        _run(empty, "git", "init", "--quiet")
        _run(empty, "dvc", "init", "--quiet")
        _run(empty, "dvc", "config", "core.analytics", "false")
        (empty / "dvc.yaml").write_text("stages: {}\n")
        seconds = interleaved(
            {
                "make repro": lambda: _run(clone, *MAKE, "repro"),
                "dvc repro": lambda: _run(clone, "dvc", "repro"),
                "empty": lambda: _run(empty, "dvc", "repro"),
            },
            ROUNDS,
        )
    ratio = statistics.median(seconds["make repro"]) / statistics.median(seconds["empty"])
    return [
        Row("`make repro` on digits, installed", f"{work:.1f} s", "under 40 s", work < 40),
        Row("digits test accuracy", f"{accuracy:.4f}", "0.985", accuracy >= 0.985),
        Row(
            "`make repro` with nothing to do",
            f"{spread(seconds['make repro'])}; empty `dvc repro` {spread(seconds['empty'])}; "
            f"`dvc repro` here {spread(seconds['dvc repro'])}: ratio {ratio:.2f}",
            "1.5 of an empty `dvc repro`",
            ratio < 1.5,
        ),
    ]


def _run(folder: Path, *command: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | {"PATH": path}
    subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
