"""The state of the code that made a run: commit, patch and untracked files."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

EXCLUDED = (":(exclude)dvc.lock", ":(exclude)metrics")
"""What the pipeline itself writes and git keeps: a run changes it, and is not changed by it."""


@dataclass(frozen=True)
class GitState:
    """What `git checkout` of the commit, `git apply` of the patch and the untracked files restore."""

    commit: str
    branch: str
    patch: str
    """Binary-safe difference of the working tree to the commit; empty where there is none."""
    untracked: list[Path]
    """Files that git neither has nor ignores, from the root."""

    @property
    def dirty(self) -> bool:
        """Whether the commit alone does not restore the state."""
        return bool(self.patch or self.untracked)


def read_state(root: Path) -> GitState | None:
    """The state of the repository at `root`; None where there is none, or no commit yet."""
    try:
        commit = _git(root, "rev-parse", "--verify", "HEAD").strip()
        untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", ".", *EXCLUDED)
        return GitState(
            commit=commit,
            branch=_git(root, "rev-parse", "--abbrev-ref", "HEAD").strip(),
            patch=_git(root, "diff", "--binary", "HEAD", "--", ".", *EXCLUDED),
            untracked=[Path(name) for name in untracked.split("\0") if name],
        )
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)
    return done.stdout.decode("utf-8", errors="surrogateescape")
