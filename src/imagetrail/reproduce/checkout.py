"""Check out the code and the parameters of a run in a git worktree, separate from the user's."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from imagetrail import git
from imagetrail.errors import ReproductionError
from imagetrail.files import artifacts
from imagetrail.params.load import PARAMS_FILE
from imagetrail.params.section import leaves
from imagetrail.tracking.contents import text
from imagetrail.tracking.record import Record
from imagetrail.tracking.tags import COMMIT, PARAMS_SHA256

WITHOUT_GIT = "[core]\n    no_scm = true\n"
"""Settings of DVC in the worktree: it takes the worktree of a submodule for a folder outside the repository."""


def make(root: Path, record: Record, worktree: Path) -> Path:
    """Check out the inputs of a run, and verify them against the logged values.

    Args:
        root: the user's checkout, whose repository has the commit.
        record: of the run.
        worktree: an earlier one is replaced.

    Returns:
        The project in the worktree: the same folder, or below it as `root` is below the top of its repository.

    Raises:
        ReproductionError: commit, patch, an untracked file or the parameters are missing or have changed.
    """
    _check_out(root, record, worktree)
    folder = worktree / git.prefix(root)
    if not folder.is_dir():
        raise ReproductionError(f"the commit of run {record.id} has no folder {git.prefix(root)!r}, where it was made.")
    _apply_patch(record, folder)
    _bring_untracked(root, record, folder)
    _check_files(record, folder)
    _write_params(root, record, folder)
    (folder / ".dvc/config.local").write_text(WITHOUT_GIT, encoding="utf-8")
    return folder


def remove(root: Path, folder: Path) -> None:
    """Remove a worktree and everything in it."""
    git.answer(root, "worktree", "remove", "--force", "--force", str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    git.answer(root, "worktree", "prune")


def _check_out(root: Path, record: Record, folder: Path) -> None:
    commit = record.tags.get(COMMIT)
    if commit is None:
        raise ReproductionError(f"the run {record.id} was made outside git, so nobody knows its code.")
    if git.answer(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise ReproductionError(
            f"the commit {commit} of run {record.id} is not in this repository; `git fetch` it from where it is."
        )
    remove(root, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    problem = f"the commit {commit} of run {record.id} cannot be checked out"
    _git(root, problem, "worktree", "add", "--quiet", "--detach", str(folder), commit)


def _apply_patch(record: Record, folder: Path) -> None:
    patch = record.files / "git/changes.patch"
    if not patch.is_file():
        return
    problem = f"the patch git/changes.patch of run {record.id} does not apply to its commit"
    _git(folder, problem, "apply", "--whitespace=nowarn", str(patch.resolve()))


def _git(folder: Path, problem: str, *arguments: str) -> None:
    try:
        git.output(folder, *arguments)
    except subprocess.CalledProcessError as error:
        words = " ".join(error.stderr.decode(errors="replace").split())
        raise ReproductionError(f"{problem} ({words}).") from None


def _bring_untracked(root: Path, record: Record, folder: Path) -> None:
    """Copy the files that the run logged, and those that it left out if they still exist here."""
    kept = record.files / "git/untracked"
    if kept.is_dir():
        shutil.copytree(kept, folder, dirs_exist_ok=True)
    left_out = record.files / "git/left_out.txt"
    for name in os.fsdecode(left_out.read_bytes()).splitlines() if left_out.is_file() else ():
        if (root / name).is_symlink() or (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name, follow_symlinks=False)
        elif (root / name).is_dir():  # a repository inside this one
            shutil.copytree(root / name, folder / name, symlinks=True)


def _check_files(record: Record, folder: Path) -> None:
    """Compare with git/changed.json, which has the sha256 of every file that differs from the commit."""
    dirty = record.tags.get("git.dirty") == "true"
    wanted = record.json("git/changed.json") if dirty else {}
    state = git.read_state(folder)
    assert state is not None, "a worktree has a commit"
    for name in sorted(wanted.keys() | state.changed.keys()):
        before, now = (_state(files, name) for files in (wanted, state.changed))
        if before != now:
            raise ReproductionError(
                f"{name} cannot be brought back as it was in run {record.id}: it was {before}, and what the run holds "
                f"in git/ makes it {now}."
            )


def _state(changed: Mapping[str, str | None], name: str) -> str:
    if name not in changed:
        return "as in its commit"
    return changed[name] or "deleted"


def _write_params(root: Path, record: Record, folder: Path) -> None:
    path = record.files / PARAMS_FILE
    if not path.is_file():
        raise ReproductionError(f"the run {record.id} holds no {PARAMS_FILE}; it cannot be repeated.")
    if artifacts.file_sha256(path) != record.tags.get(PARAMS_SHA256):
        raise ReproductionError(
            f"{PARAMS_FILE} of run {record.id} is not the file that it logged{_contradiction(path, record)}."
        )
    tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    _adapt(tree, root)
    with artifacts.writing(folder / PARAMS_FILE) as temporary:
        YAML().dump(tree, temporary)


def _contradiction(path: Path, record: Record) -> str:
    """Describe the first difference between the file and the parameters that MLflow shows."""
    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError):
        return ""
    for name, value in leaves(tree):
        logged = record.params.get(name, text(value))
        if text(value) != logged:
            return f": {name} is {text(value)} in it, and {logged} among the run's parameters"
    return ""


def _adapt(tree: dict[str, Any], root: Path) -> None:
    """Adapt the parameters that cannot change a figure: paths on this machine, and checks against other runs."""
    for section, name in (("download", "path"), ("download", "weights")):
        place = Path(tree[section][name])
        inside = (root / place).resolve().is_relative_to(root.resolve())
        if not inside or git.ignores(root, place.as_posix()):  # else git has brought it along
            tree[section][name] = str((root / place).resolve())
    for name in tree["evaluate"].keys() & {"gate", "registry"}:
        tree["evaluate"][name] = None
    for section in ("train", "evaluate"):
        if tree[section]["device"] == "cuda":  # without CUDA the CPU computes, and the verdict names the device
            tree[section]["device"] = "auto"
