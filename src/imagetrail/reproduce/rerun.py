"""Run the command that made a run again, in its checkout and with a store of its own."""

import os
from pathlib import Path

from imagetrail import programs
from imagetrail.errors import ReproductionError
from imagetrail.tracking.record import Record
from imagetrail.tracking.tags import EVALUATION, FOLD, MODEL_SHA256, PARTS, SWEEP

REPRO = ("repro", "--force", "--no-commit")
"""Run every stage without reading or filling a cache."""


def check(record: Record) -> None:
    """Raise a ReproductionError if there is nothing to compare, as the run never finished."""
    if MODEL_SHA256 not in record.tags and not (_is_sweep(record) and record.figures):
        raise ReproductionError(f"the run {record.id} ({record.name}) came to no end, so there is nothing to compare.")


def data(checkout: Path, python: Path) -> None:
    """Run download and preprocess.

    Raises:
        ImagetrailError: a stage fails; see its own message above.
    """
    _run(checkout, python, "dvc", *REPRO, "preprocess")


def figures(checkout: Path, python: Path, record: Record) -> None:
    """Run what follows from the data: the training and its evaluation, a trial, a fold, or a whole sweep.

    Raises:
        ImagetrailError: a stage fails; see its own message above.
    """
    single = (*REPRO, "--single-item")
    if FOLD in record.tags:
        _run(checkout, python, "dvc", *single, "split")
        _run(checkout, python, "imagetrail.sweeps.trial", record.tags[FOLD])
    elif _is_sweep(record):
        asked = record.json("sweep/request.json")
        whole = next((name for name in ("folds", "seeds") if asked.get(name)), None)
        names = ["space", "trials", "workers"] if whole is None else [whole, "workers"]
        _run(checkout, python, "stages", "sweep", *(part for name in names for part in (f"--{name}", str(asked[name]))))
    else:
        _run(checkout, python, "dvc", *single, "split", "train", *(["evaluate"] if EVALUATION in record.tags else []))


def _is_sweep(record: Record) -> bool:
    """Return whether it is the run of a whole sweep, not of a part."""
    return SWEEP in record.tags and not PARTS & record.tags.keys()


def _run(checkout: Path, python: Path, module: str, *arguments: str) -> None:
    programs.run(
        checkout,
        module,
        *arguments,
        python=str(python),
        environment=_environment(checkout, python),
        quiet=module == "dvc",
    )


def _environment(checkout: Path, python: Path) -> dict[str, str]:
    """Return an environment with the checkout's package and store, and the interpreter that stages find as `python`."""
    foreign = ("MLFLOW_", "DVC_", "IMAGETRAIL_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return kept | {"PATH": path, "PYTHONPATH": str(checkout.resolve() / "src")}
