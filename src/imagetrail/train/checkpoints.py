"""Save the state of a training after each epoch, so that a killed training resumes.

Checkpoints are outside DVC's outputs, which DVC deletes before it runs a stage. Their folder is named after everything
that determines the weights, so a changed parameter, pixel or line of code starts over. A file's name has the sha256 of
its bytes; a corrupt file is skipped for the one before.
"""

import hashlib
import io
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from imagetrail.console import warn
from imagetrail.files import artifacts
from imagetrail.files.arrays import Subset
from imagetrail.model.classifier import Card
from imagetrail.params.train import Train

KEPT = 2
DECISIVE = ("files", "model", "params/model.py", "params/named.py", "params/train.py", "train")
"""The package's files that determine a training's weights: those that dvc.yaml lists for the stage `train`."""


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist."""
        self._folder = folder

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the state after `epoch` atomically, and delete the oldest."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        with artifacts.writing(self._folder / f"{epoch:06d}-{hashlib.sha256(data).hexdigest()[:16]}.pt") as path:
            path.write_bytes(data)
        for old in self._files()[:-KEPT]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """Return the newest intact state, with its tensors on the CPU; None if there is none."""
        for path in reversed(self._files()):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest()[:16] == path.stem.split("-")[1]:
                state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
                return state
            warn(f"{path} is corrupt; skipping it.")
        return None

    def clear(self) -> None:
        """Delete the checkpoints of a finished training."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.pt"))


def of_training(root: Path, card: Card, train: Subset, val: Subset, options: Train) -> Checkpoints:
    """Find the checkpoints of the training with these inputs, the code of DECISIVE and this version of torch."""
    decisive = [asdict(card), train.dataset.sha256, options.model_dump(mode="json"), torch.__version__]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    digest.update(train.rows.tobytes() + b"|" + val.rows.tobytes())
    digest.update(source_sha256().encode())
    return Checkpoints(artifacts.workspace(root) / artifacts.CHECKPOINTS / digest.hexdigest()[:32])


def source_sha256() -> str:
    """Hash the source files of DECISIVE, with their names."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    parts = [package / name for name in DECISIVE]
    for path in sorted(file for part in parts for file in (part.rglob("*.py") if part.is_dir() else [part])):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
