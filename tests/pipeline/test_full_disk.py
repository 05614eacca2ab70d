"""A disk that is really full, in any stage; test_disk_faults.py fails single calls. One sentence, nothing damaged."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import contents, environment, make_clone
from support import attempt, set_params

pytestmark = pytest.mark.slow
STAGES = ("download", "preprocess", "split", "train", "evaluate")
PAGE = 4096
SIZE = 256 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk with a clone that has run to its end."""
    folder = tmp_path_factory.mktemp("disk")
    attempt("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder))
    try:
        clone = make_clone(folder / "clone")
        set_params(clone, train__epochs=2, model__widths=[4], train__arithmetic="native")
        for name in STAGES:
            done = run(clone, name)
            assert done.returncode == 0, done.stderr
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(clone: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["python", "-m", f"stages.{name}"], cwd=clone, env=environment(TMPDIR=str(clone.parent)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("free", [0, 16])
@pytest.mark.parametrize("name", STAGES)
def test_a_full_disk_costs_one_sentence(disk: Path, name: str, free: int) -> None:
    clone, filler = disk / "clone", disk / "filler"
    wanted = contents(clone)
    state = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - free * PAGE))
    full = run(clone, name)
    left = contents(clone)
    filler.unlink()
    assert "Traceback" not in full.stderr, full.stderr
    lines = [line for line in full.stderr.splitlines() if not re.match(r"imagetrail: \w+: \d+%", line)]  # progress
    sentences = [line for line in lines if not line.startswith("imagetrail: warning: ")]
    assert full.returncode in (0, 2), full.stderr
    assert full.returncode or free, "nothing can be written"
    if full.returncode:
        assert len(sentences) == 1, full.stderr
        assert "No space left on device" in sentences[0], sentences
    assert all(data == wanted[path] for path, data in left.items()), "damaged"
    again = run(clone, name)
    assert again.returncode == 0, again.stderr
    assert contents(clone) == wanted
