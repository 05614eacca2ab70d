"""A run made again and compared with itself."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagetrail import artifacts
from imagetrail.console import say
from imagetrail.reproduction import checkout, environment, rerun, verdict
from imagetrail.reproduction.verdict import Verdict
from imagetrail.tracking import record, registry
from imagetrail.tracking.record import Record
from imagetrail.tracking.tags import REPRODUCTION

FOLDER = Path(".imagetrail/reproductions")


@dataclass(frozen=True)
class Answer:
    """What `imagetrail reproduce` says."""

    run: Record
    verdict: Verdict
    tolerance: float
    folder: Path
    """The worktree; gone where the run is bit-identical."""

    @property
    def sentence(self) -> str:
        """The verdict in a line."""
        match self.verdict.word:
            case "bit-identical":
                return f"bit-identical: {self.verdict.compared}"
            case "equal":
                return f"equal within {self.tolerance:g}, not bit-identical; first, {self.verdict.first}"
            case "different":
                return f"different: {self.verdict.first}"

    def text(self) -> str:
        """For a person."""
        around = self.verdict.surroundings
        lines = [f"{self.run.name} ({self.run.id[:8]}): {self.sentence}."]
        lines += [f"  {line}" for line in around or ()]
        if around == []:
            lines.append("  device, threads, Python and all packages are as they were")
        if self.verdict.word != "bit-identical":
            lines.append(f"  the repetition lies in {self.folder}")
        return "\n".join(lines)


def reproduce(root: Path, reference: str, tolerance: float) -> Answer:
    """Make a run again, from its commit, patch, untracked files, parameters, data and packages.

    The answer is also tagged onto the run.

    Args:
        root: the user's checkout, which stays as it is.
        reference: the run's id, the beginning of it, its name, or `champion:NAME`.
        tolerance: within which the last value of every metric must be where bits differ.

    Raises:
        ReproductionError: something that the run was made of is missing or not what it was.
        ImagetrailError: there is no such run, or a stage fails.
    """
    with tempfile.TemporaryDirectory() as name:
        before = record.read(root, reference, Path(name) / "before")
        rerun.check(before)
        folder = artifacts.workspace(root) / FOLDER / before.id
        say(f"checking out what {before.name} ({before.id[:8]}) was made of")
        checkout.make(root, before, folder)
        python = environment.python(root, folder, before)
        with _checkpoints(folder):
            found = _repeat(before, folder, python, tolerance, Path(name) / "after")
        answer = Answer(before, found, tolerance, folder)
        registry.tag(root, before.id, {REPRODUCTION: answer.sentence})
    if found.word == "bit-identical":
        checkout.remove(root, folder)
    return answer


@contextmanager
def _checkpoints(folder: Path) -> Iterator[None]:
    """Keep the checkout's checkpoints beside it until the end, so that an interrupted repetition goes on."""
    kept = folder.with_name(f"{folder.name}.checkpoints")
    kept.mkdir(exist_ok=True)
    place = folder / artifacts.CHECKPOINTS
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(kept.resolve())
    yield
    shutil.rmtree(kept)


def _repeat(before: Record, folder: Path, python: Path, tolerance: float, files: Path) -> Verdict:
    logged = verdict.logged_data(before)
    say("making its data again")
    rerun.data(folder, python)
    if (difference := verdict.of_data(logged, folder)) is not None:
        return Verdict("different", difference, None, "the data")
    say("the data are the run's; making its figures again")
    rerun.figures(folder, python, before)
    return verdict.of_runs(before, record.only_run(folder, files), tolerance)
