"""The request that every source gets."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from imagetrail.errors import DataError
from imagetrail.files import artifacts
from imagetrail.params.download import Download

DOWNLOADS = Path(".imagetrail/downloads")
"""Downloads are kept here, outside DVC's outputs, so that a failing stage does not fetch them twice."""


@dataclass(frozen=True)
class SourceJob:
    """The options of `download`, and where to read and write."""

    options: Download
    root: Path
    """The repository's root; `options.path` starts here."""
    folder: Path
    """The folder to fill: data/raw under a temporary name."""
    jobs: int
    """Workers; -1 means one per core."""
    lines: Path | None = None
    """The folder that becomes data/lines; None writes none."""
    reads: bool = True
    """Whether to take the size and sha256 of every file; without, both are empty."""

    @property
    def local(self) -> Path:
        """The folder of local data, `download.path`.

        Raises:
            DataError: this is DVC's temporary copy for a queued experiment, without the data that git does not have.
        """
        here, there = (root / self.options.path for root in (self.root, artifacts.workspace(self.root)))
        if (absent := _names(there)) and not _names(here):
            options = " ".join(f"--copy-paths {shlex.quote(f'{self.options.path}/{name}')}" for name in absent[:3])
            raise DataError(
                f"{self.options.path} is empty in this temporary copy of the repository, as git does not have its "
                f"{len(absent)} files and folders; give `dvc exp run` the option {options}"
                f"{', and so on for the others' if absent[3:] else ''}, or `dvc add` them."
            )
        return here


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
