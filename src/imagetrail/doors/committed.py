"""Compare the outputs of the pipeline with those that the commit's dvc.lock records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from imagetrail import git
from imagetrail.doors import repair

EQUAL = "every output equals the commit's, to the last bit"
Stages = Mapping[str, Mapping[str, Any]]
"""The stages of a dvc.lock: `cmd`, `params`, and lists of `deps` and `outs` with paths and hashes."""


def verdict(root: Path) -> str | None:
    """Say whether every output equals the commit's to the last bit, or which one differs first.

    None if the commit has no dvc.lock, or one that was made from other code, parameters or data.
    """
    committed = git.answer(root, "show", f"HEAD:./{repair.DVC_LOCK}")
    if committed is None:
        return None
    found = (root / repair.DVC_LOCK).read_text(encoding="utf-8")
    if found == committed:  # parsing YAML would take longer than all else that `make repro` with nothing to do does
        return EQUAL
    then, now = _stages(committed), _stages(found)
    if _inputs(then) != _inputs(now):
        return None
    outputs = _outputs(now)
    different = [path for path, found in _outputs(then).items() if outputs.get(path) != found]
    if not different:
        return EQUAL
    if len(different) == 1:
        return f"{different[0]} differs from the commit's"
    return f"{len(different)} outputs differ from the commit's, {different[0]} first"


def _stages(text: str) -> Stages:
    stages: Stages = YAML(typ="safe").load(text)["stages"]
    return stages


def _inputs(stages: Stages) -> object:
    """Return what determines the outputs: commands, parameters, and dependencies that no stage makes."""
    made = _outputs(stages)
    return {
        name: (stage["cmd"], stage.get("params"), [dep for dep in stage.get("deps", ()) if dep["path"] not in made])
        for name, stage in stages.items()
    }


def _outputs(stages: Stages) -> dict[str, object]:
    """Return the hash of each output by path; DVC writes the stages in the order of dvc.yaml."""
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())}
