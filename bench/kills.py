"""Kill `make repro` again and again, and compare what comes out in the end: `python -m bench.kills CLONE [KILLS]`.

Half of the kills come at random times, half just after DVC or MLflow has begun to write a file in place. CLONE is a
checkout without outputs, whose params.yaml decides how long a run takes; it is changed.
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
from pathlib import Path

from imagetrail.files import artifacts

OUTPUTS = (*artifacts.OUTPUTS, artifacts.METRICS, Path("dvc.lock"))
IN_PLACE = (".dvc/tmp/rwlock", "dvc.lock", "mlflow.db", ".imagetrail/dvc.lock")
"""Files that DVC and MLflow write in place, and our copy of one."""


def disturb(clone: Path, kills: int, seed: int = 0) -> Iterator[str]:
    """Run the pipeline to its end, then kill it so many times on the way to new ends.

    Yields:
        A line for each run: where it was killed, or that it came to its end with the bytes of the first one.

    Raises:
        AssertionError: a run fails by itself, ends with other bytes, or leaves temporary files.
    """
    random.seed(seed)
    begin = time.monotonic()
    assert run(clone, None), log(clone)
    duration = time.monotonic() - begin
    wanted = digests(clone)
    yield f"undisturbed: {duration:.1f} s"
    reset(clone)
    done = 0
    while done < kills:
        delay, watch = random.uniform(0, duration), bool(done % 2)
        if run(clone, delay, watch=watch):
            yield f"finished before a kill after {delay:.1f} s"
            verify(clone, wanted)
            reset(clone)
            continue
        done += 1
        yield f"kill {done} after {delay:.1f} s{' and a write' if watch else ''}: {running(clone)}"
    assert run(clone, None), log(clone)
    verify(clone, wanted)
    yield f"the bytes of the undisturbed run after {kills} kills"


def run(clone: Path, delay: float | None, *, watch: bool = False) -> bool:
    """Run `make repro`'s command; kill its process group after `delay` seconds, and with `watch` at the next write.

    Returns:
        Whether it came to its end.
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
            before = before or changes(clone)
            if not watch or changes(clone) != before:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return False
        time.sleep(0.0005 if before else 0.005)
    assert process.returncode == 0, log(clone)
    return True


def changes(clone: Path) -> list[int]:
    """Return when each file of IN_PLACE changed last, and its size."""
    found = [path.stat() for name in IN_PLACE if (path := clone / name).exists()]
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
