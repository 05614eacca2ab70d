"""Repeat a run and compare the result with it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagetrail.console import announce, warn
from imagetrail.errors import ArtifactError
from imagetrail.files import artifacts
from imagetrail.reproduce import checkout, environment, rerun, verdict
from imagetrail.reproduce.verdict import Verdict
from imagetrail.tracking import record, registry
from imagetrail.tracking.record import Record
from imagetrail.tracking.tags import REPRODUCTION

REPRODUCTIONS = Path(".imagetrail/reproductions")


@dataclass(frozen=True)
class Answer:
    """The answer of `imagetrail reproduce`."""

    run: Record
    found: Verdict
    folder: Path
    """The worktree; deleted if the run is bit-identical."""

    @property
    def sentence(self) -> str:
        """The verdict in a line."""
        match self.found.word:
            case "bit-identical":
                return f"bit-identical: {self.found.compared}"
            case "equal":
                return f"equal within {verdict.TOLERANCE:g}, not bit-identical; first, {self.found.first}"
            case "different" if self.found.surroundings is not None and verdict.is_portable(self.run):
                return f"different, though train.arithmetic = 'portable': {self.found.first}"
            case "different":
                return f"different: {self.found.first}"

    def text(self) -> str:
        """Format the answer for the terminal."""
        around = self.found.surroundings
        lines = [f"{self.run.name} ({self.run.id[:8]}): {self.sentence}."]
        lines += [f"  {line}" for line in around or ()]
        if around == []:
            lines.append("  device, threads, Python and all packages are as they were")
        if self.found.word != "bit-identical":
            lines.append(f"  the repetition is in {self.folder}")
        return "\n".join(lines)


def reproduce(root: Path, reference: str) -> Answer:
    """Repeat a run from its commit, patch, untracked files, parameters, data and packages.

    The answer is also tagged onto the run.

    Args:
        root: the user's checkout, which does not change.
        reference: the run's id, the beginning of it, its name, or `champion:NAME`.

    Raises:
        ReproductionError: an input of the run is missing or has changed.
        ImagetrailError: there is no such run, or a stage fails.
    """
    with tempfile.TemporaryDirectory() as name:
        before = record.read(root, reference, Path(name) / "before")
        rerun.check(before)
        logged = verdict.logged_data(before)
        worktree = artifacts.workspace(root) / REPRODUCTIONS / before.id
        announce(f"checking out what {before.name} ({before.id[:8]}) was made of")
        folder = checkout.make(root, before, worktree)
        python = environment.python(root, folder, before)
        with _checkpoints(folder, worktree.with_name(f"{worktree.name}.checkpoints")):
            found = _repeat(before, logged, folder, python, Path(name) / "after")
    answer = Answer(before, found, folder)
    try:
        registry.tag(root, before.id, REPRODUCTION, answer.sentence)
    except ArtifactError as error:  # the answer is what counts
        warn(str(error))
    if found.word == "bit-identical":
        checkout.remove(root, worktree)
    return answer


@contextmanager
def _checkpoints(folder: Path, kept: Path) -> Iterator[None]:
    """Keep the checkout's checkpoints in another folder until the end, so that an interrupted repetition resumes."""
    kept.mkdir(exist_ok=True)
    place = folder / artifacts.CHECKPOINTS
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(kept.resolve())
    yield
    shutil.rmtree(kept)


def _repeat(before: Record, logged: dict[str, Any], folder: Path, python: Path, files: Path) -> Verdict:
    announce("repeating its data")
    rerun.data(folder, python)
    if (difference := verdict.of_data(logged, folder)) is not None:
        return Verdict("different", difference, None, "the data")
    announce("the data are equal; repeating its figures")
    rerun.figures(folder, python, before)
    return verdict.of_runs(before, record.only_run(folder, files))
