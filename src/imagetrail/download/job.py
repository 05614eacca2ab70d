"""The request that every source gets."""

from dataclasses import dataclass
from pathlib import Path

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

    @property
    def local(self) -> Path:
        """The folder of local data, `download.path`."""
        return self.root / self.options.path
