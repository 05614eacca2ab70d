"""Repair the files that a killed DVC leaves half written, since it writes them in place."""

import json
import shutil
import time
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from imagetrail import git
from imagetrail.console import warn

DVC_LOCK = Path("dvc.lock")
LAST_LOCK = Path(".imagetrail/dvc.lock")
"""A copy of the last dvc.lock that DVC finished."""
RWLOCK = Path(".dvc/tmp/rwlock")
"""DVC's list of the paths that its processes use."""
WRITING = 0.5
"""Seconds after which another process has finished writing RWLOCK."""


def before_dvc(root: Path) -> None:
    """Repair RWLOCK and dvc.lock, with a warning, if DVC could not read them."""
    rwlock = root / RWLOCK
    if not _is_json(rwlock):
        time.sleep(WRITING)
        if not _is_json(rwlock):
            rwlock.unlink(missing_ok=True)
            warn(f"{rwlock} was half written by a killed process; it is removed.")
    if not _is_lock(root / DVC_LOCK):
        _restore(root)


def after_dvc(root: Path) -> None:
    """Keep a copy of a finished dvc.lock."""
    content = (root / DVC_LOCK).read_bytes()
    kept = root / LAST_LOCK
    if not kept.is_file() or kept.read_bytes() != content:
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)


def _restore(root: Path) -> None:
    lock, committed = root / DVC_LOCK, git.answer(root, "show", f"HEAD:./{DVC_LOCK}")
    if _is_lock(root / LAST_LOCK) and (root / LAST_LOCK).is_file():
        shutil.copyfile(root / LAST_LOCK, lock)
        source = "the last complete one"
    elif committed is not None:
        lock.write_text(committed, encoding="utf-8")
        source = "the committed one"
    else:
        lock.unlink()
        source = "none, so every stage runs"
    warn(f"{lock} was half written by a killed process; it is replaced by {source}.")


def _is_json(path: Path) -> bool:
    """Return whether a file is absent or holds JSON."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def _is_lock(path: Path) -> bool:
    """Return whether a file is absent or has the shape of a dvc.lock; an unfinished one lacks the end of a stage."""
    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (YAMLError, ValueError):
        return False
    stages = tree.get("stages") if isinstance(tree, dict) else None
    return isinstance(stages, dict) and all(_is_stage(stage) for stage in stages.values())


def _is_stage(stage: object) -> bool:
    entries = [entry for key in ("deps", "outs") for entry in stage.get(key, [])] if isinstance(stage, dict) else [None]
    return all(isinstance(entry, dict) and entry.keys() >= {"path", "hash"} for entry in entries) and bool(entries)
