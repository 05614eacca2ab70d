"""Repair the files that a killed DVC leaves half written, since it writes them in place."""

import json
import shutil
import time
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from imagetrail import git
from imagetrail.console import warn
from imagetrail.files import artifacts

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
    with artifacts.writing(root / LAST_LOCK) as temporary:
        shutil.copyfile(root / DVC_LOCK, temporary)


def _restore(root: Path) -> None:
    lock, kept, committed = root / DVC_LOCK, root / LAST_LOCK, git.answer(root, "show", f"HEAD:./{DVC_LOCK}")
    if kept.is_file():
        content, source = kept.read_text(encoding="utf-8"), "replaced by the last complete one"
    elif committed is not None:
        content, source = committed, "replaced by the committed one"
    else:
        lock.unlink()
        warn(f"{lock} was half written by a killed process; it is removed, so every stage runs.")
        return
    with artifacts.writing(lock) as temporary:
        temporary.write_text(content, encoding="utf-8")
    warn(f"{lock} was half written by a killed process; it is {source}.")


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
