"""Compare the records of a run and of its repetition."""

import math
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from imagetrail.errors import ReproductionError
from imagetrail.files import artifacts
from imagetrail.tracking.record import Record
from imagetrail.tracking.tags import DEVICE, MODEL_SHA256

Word = Literal["bit-identical", "equal", "different"]
TOLERANCE = 0.01
"""Largest absolute or relative difference of a metric's last values that counts as equal."""
ORDER = ("train", "val", "model", "test", "sweep", "folds")
"""Groups of metrics in the order of the pipeline."""


class Verdict(NamedTuple):
    """The result of a comparison."""

    word: Word
    """`equal` is within TOLERANCE, which counts only where equal bits are not promised."""
    first: str | None
    """The first difference, in the order of the pipeline; None if there is none."""
    surroundings: list[str] | None
    """Differences in device, threads, Python and packages; None if they were not compared."""
    compared: str
    """What was compared, in words."""


def logged_data(before: Record) -> dict[str, Any]:
    """Return the run's dataset.json.

    Raises:
        ReproductionError: the run does not have it, or it is not the one that was logged.
    """
    described = before.json("data/dataset.json")
    sha256 = str(described.get("sha256"))
    if before.digest is None or not sha256.startswith(before.digest):
        raise ReproductionError(
            f"data/dataset.json of run {before.id} is not what it logged: sha256 {sha256[:8]}, and the digest of its "
            f"MLflow input is {before.digest}."
        )
    return described


def of_data(then: dict[str, Any], checkout: Path) -> str | None:
    """Describe how the data in a checkout differ from those of a run's dataset.json; None if they are equal."""
    now: dict[str, Any] = artifacts.read_json(checkout / artifacts.TENSORS / "dataset.json", "preprocess")
    if then["sha256"] == now["sha256"]:
        return None
    for field in ("source", "classes", "shape", "counts"):
        if then.get(field) != now.get(field):
            return f"the data: {field} was {_cut(then.get(field))} and is {_cut(now.get(field))}"
    return (
        f"the data: pixels, names or labels have changed, digest {then['sha256'][:8]} then and {now['sha256'][:8]} now"
    )


def of_runs(before: Record, after: Record) -> Verdict:
    """Compare every figure of a run at every step, and the model's bytes, with those of its repetition."""
    first = next(_differences(before, after), None)
    surroundings = list(_surroundings(before, after))
    count = sum(map(len, before.figures.values()))
    compared = f"the model and all {count} figures" if MODEL_SHA256 in before.tags else f"all {count} figures"
    if first is None:
        return Verdict("bit-identical", None, surroundings, compared)
    near = not is_portable(before) and all(
        name in after.figures
        and math.isclose(_last(steps), _last(after.figures[name]), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        for name, steps in before.figures.items()
    )
    return Verdict("equal" if near else "different", first, surroundings, compared)


def is_portable(before: Record) -> bool:
    """Return whether the run's arithmetic promises the same bits on this processor."""
    return before.params.get("train.arithmetic") == "portable" and platform.machine() in ("x86_64", "AMD64")


def _last(steps: Mapping[int, float]) -> float:
    return steps[max(steps)]


def _differences(before: Record, after: Record) -> Iterator[str]:
    values = [
        (_rank(name), step, name, value) for name, steps in before.figures.items() for step, value in steps.items()
    ]
    model = (ORDER.index("model"), -1)
    then, now = before.tags.get(MODEL_SHA256), after.tags.get(MODEL_SHA256)
    checked = then == now
    for rank, step, name, value in sorted(values):
        if not checked and (rank, step) > model:
            yield _of_model(then, now)
            checked = True
        again = after.figures.get(name, {}).get(step)
        if again != value:
            at = f" at step {step}" if len(before.figures[name]) > 1 else ""
            yield f"{name}{at} was {value!r} and is {again!r}"
    if not checked:
        yield _of_model(then, now)


def _rank(name: str) -> int:
    group = name.partition("/")[0]
    return 0 if group == "val" else ORDER.index(group) if group in ORDER else len(ORDER)


def _of_model(then: str | None, now: str | None) -> str:
    return f"the model's weights: sha256 was {str(then)[:16]} and is {str(now)[:16]}"


def _surroundings(before: Record, after: Record) -> Iterator[str]:
    pairs = {
        "device": (before.tags.get(DEVICE), after.tags.get(DEVICE)),
        "threads": (before.params.get("train.threads"), after.params.get("train.threads")),
        "Python": (before.tags.get("python"), after.tags.get("python")),
    }
    packages = after.packages
    pairs |= {name: (version, packages.get(name)) for name, version in before.packages.items()}
    for name, (then, now) in pairs.items():
        if then is not None and then != now:
            yield f"{name} was {then} and is {now or 'absent'}"


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
