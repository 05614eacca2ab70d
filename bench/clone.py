"""A fresh clone of this checkout's commit, and commands in it that see neither another store nor an outer DVC."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def fresh() -> Iterator[Path]:
    """Yield the clone, which goes with the block."""
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        yield clone


def run(clone: Path, *command: str) -> None:
    """Run a command of this environment with the clone's code."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("MLFLOW_", "DVC_"))}
    environment |= {"PYTHONPATH": "src", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(command, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
