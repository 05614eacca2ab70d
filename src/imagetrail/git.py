"""The state of the code that made a run: commit, patch and untracked files."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagetrail.console import warn
from imagetrail.files import artifacts

PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
"""Options that make a patch apply whatever the user's git settings are."""
EXCLUDED = (":(exclude)dvc.lock", ":(exclude)metrics")
"""Files in git that the pipeline writes: a run changes them and does not depend on them."""


@dataclass(frozen=True)
class GitState:
    """The state of a checkout: commit, patch and untracked files restore it."""

    commit: str
    branch: str
    patch: str
    """Binary-safe diff of the working tree against the commit; empty if there is none."""
    untracked: list[Path]
    """Paths of untracked files, from the root."""
    changed: Mapping[str, str | None]
    """For each file that differs from the commit, by path: its sha256, the target of a link, or the commit of an
    untracked repository; None if deleted."""

    @property
    def dirty(self) -> bool:
        """Return whether the commit alone does not restore the state."""
        return bool(self.patch or self.untracked)


def read_state(root: Path) -> GitState | None:
    """Read the state of the repository at `root`; None without a commit, or if git refuses to read it."""
    try:
        commit = output(root, "rev-parse", "--verify", "HEAD").strip()
        untracked = _names(root, "ls-files", "--others", "--exclude-standard")
        changed = sorted({*untracked, *_names(root, "diff", "--name-only", "--relative", "HEAD")})
        return GitState(
            commit=commit,
            branch=output(root, "rev-parse", "--abbrev-ref", "HEAD").strip(),
            patch=output(root, "diff", "--binary", *PLAIN, "HEAD", "--", ".", *EXCLUDED),
            untracked=[Path(name) for name in untracked],
            changed={name: _fingerprint(root / name) for name in changed},
        )
    except FileNotFoundError:
        return None
    except subprocess.CalledProcessError as error:
        if b"safe.directory" in error.stderr:
            folder = root.resolve()
            warn(
                f"git does not read {folder}, which belongs to another user, so the run does not hold the code; "
                f"`git config --global --add safe.directory {folder}` allows it."
            )
        return None


def _fingerprint(path: Path) -> str | None:
    try:
        if path.is_symlink():
            return f"link to {path.readlink()}"
        if path.is_dir():  # git lists a repository inside this one as one name
            return f"repository at {(answer(path, 'rev-parse', '--verify', 'HEAD') or 'no commit').strip()}"
        return artifacts.file_sha256(path) if path.is_file() else None
    except OSError as error:
        return f"unreadable: {error.strerror}"


def output(root: Path, *arguments: str) -> str:
    """Return the output of a git command.

    Raises:
        subprocess.CalledProcessError: git fails; `stderr` has its message.
        FileNotFoundError: git is not installed.
    """
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)
    return done.stdout.decode("utf-8", errors="surrogateescape")


def answer(root: Path, *arguments: str) -> str | None:
    """Return the output of a git command, or None if it fails."""
    try:
        return output(root, *arguments)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None


def prefix(root: Path) -> str:
    """Return the path of a folder from the top of its repository, such as `ml/`; empty at the top or without git."""
    return (answer(root, "rev-parse", "--show-prefix") or "").removesuffix("\n")


def ignores(root: Path, folder: str) -> bool:
    """Return whether git ignores the contents of a folder of the repository."""
    return answer(root, "check-ignore", "--quiet", f"{folder}/x") is not None


def _names(root: Path, *arguments: str) -> list[str]:
    return [name for name in output(root, *arguments, "-z", "--", ".", *EXCLUDED).split("\0") if name]
