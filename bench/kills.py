"""Kill `make repro` again and again, and compare what comes out in the end: `python -m bench.kills CLONE [KILLS]`.

A third of the kills come at random times, a third just after DVC or MLflow has begun to write a file in place or
`train` a checkpoint, and a third hit one process alone, which of several that share a training makes torchrun start all
again. CLONE is a checkout without outputs, whose params.yaml decides how long a run takes and how many processes share
its training; it is changed.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import psutil

from imagetrail.files import artifacts

OUTPUTS = (*artifacts.OUTPUTS, artifacts.METRICS, Path("dvc.lock"))
IN_PLACE = (".dvc/tmp/rwlock", "dvc.lock", "mlflow.db", ".imagetrail/dvc.lock")
"""Files that DVC and MLflow write in place, and our copy of one."""
WRITE, ONE = " and a write", ", one process"
WAYS = ("", WRITE, ONE)


def disturb(clone: Path, kills: int, seed: int = 0) -> Iterator[str]:
    """Run the pipeline to its end, then kill it so many times on the way to new ends.

    Yields:
        A line for each run: where it was killed, whether it survived, or that it ended with the bytes of the first one.

    Raises:
        AssertionError: a run fails by itself, ends with other bytes, or leaves temporary files.
    """
    random.seed(seed)
    begin = time.monotonic()
    run(clone)
    duration = time.monotonic() - begin
    wanted = digests(clone)
    yield f"undisturbed: {duration:.1f} s"
    reset(clone)
    done, ways = 0, cycle(WAYS)
    while done < kills:
        delay, way = random.uniform(0, duration), next(ways)
        killed, finished = run(clone, delay, way)
        if killed:
            done += 1
            yield f"kill {done} after {delay:.1f} s{way}: {'survived' if finished else running(clone)}"
        if finished:
            if not killed:
                yield f"finished before a kill after {delay:.1f} s"
            verify(clone, wanted)
            reset(clone)
    run(clone)
    verify(clone, wanted)
    yield f"the bytes of the undisturbed run after {kills} kills"


def run(clone: Path, delay: float | None = None, way: str = "") -> tuple[bool, bool]:
    """Run `make repro`'s command, and kill it after `delay` seconds in one of WAYS.

    Returns:
        (whether something was killed, whether the run came to its end).
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (clone / ".imagetrail/log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stages"], cwd=clone, start_new_session=True, stdout=output, stderr=output,
            env=environment | {"PATH": path, "PYTHONPATH": str(clone / "src")},
        )  # fmt: skip
    end = None if delay is None else time.monotonic() + delay
    before: list[int] | None = None
    while process.poll() is None:
        if end is not None and time.monotonic() >= end:
            if way == ONE:
                victims = [c for c in psutil.Process(process.pid).children(recursive=True) if is_shared(c)]
                if victims:
                    random.choice(victims).kill()
                    process.wait()
                    return True, process.returncode == 0
            before = before or changes(clone)
            if way != ONE and (way != WRITE or changes(clone) != before):
                children = psutil.Process(process.pid).children(recursive=True)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                _, left = psutil.wait_procs(children, timeout=10)
                assert not left, f"left behind: {left}"
                return True, False
        time.sleep(0.0005 if before else 0.005)
    assert process.returncode == 0, log(clone)
    return False, True


def is_shared(process: psutil.Process) -> bool:
    """Return whether a process is one of several that share a training."""
    with suppress(psutil.Error):
        return "stages.train" in process.cmdline() and "LOCAL_RANK" in process.environ()
    return False


def changes(clone: Path) -> list[int]:
    """Return when each file that is written in place, and each checkpoint that is begun, changed last, and its size."""
    paths = [*(clone / name for name in IN_PLACE), *(clone / artifacts.CHECKPOINTS).glob("*/.*")]
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            found.append(path.stat())
    return [number for state in found for number in (state.st_mtime_ns, state.st_size)]


def digests(clone: Path) -> dict[str, str]:
    """Return the sha256 of every file of the outputs."""
    files = [path for name in OUTPUTS for path in [clone / name, *(clone / name).rglob("*")] if path.is_file()]
    return {path.relative_to(clone).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def verify(clone: Path, wanted: dict[str, str]) -> None:
    """Check the outputs, and that nothing temporary is left."""
    found = digests(clone)
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    assert not differing, f"other bytes in {differing}"
    left = [path for folder in ("data", "models", "plots", "metrics") for path in (clone / folder).rglob(".*.tmp")]
    assert not left + list(clone.glob(".*.tmp")), f"left behind: {left}"


def reset(clone: Path) -> None:
    """Forget every output, in DVC's cache as well, so that all stages run again."""
    for name in (*artifacts.OUTPUTS, ".dvc/cache", ".imagetrail/checkpoints"):
        shutil.rmtree(clone / name, ignore_errors=True)
    subprocess.run(["git", "checkout", "--quiet", "dvc.lock", "metrics"], cwd=clone, check=True)


def running(clone: Path) -> str:
    """Return the stage that the log ends in."""
    stages = [line.split("'")[1] for line in log(clone).splitlines() if line.startswith("Running stage")]
    return stages[-1] if stages else "before any stage"


def log(clone: Path) -> str:
    """Return the output of the last run."""
    return (clone / ".imagetrail/log").read_text(errors="replace")


def main() -> None:
    """Print a line for each run."""
    clone, *rest = sys.argv[1:]
    for line in disturb(Path(clone).resolve(), int(rest[0]) if rest else 50):
        print(line, flush=True)


if __name__ == "__main__":
    main()
