"""Decide whether a model passes evaluate.gate: floors on the test figures, and a baseline that it must not lose to."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from imagetrail.errors import GateError, ImagetrailError, quoted
from imagetrail.evaluate import answers, paired
from imagetrail.evaluate.answers import Answers
from imagetrail.evaluate.paired import Comparison
from imagetrail.params.evaluate import Gate

SHOWN = 5
"""Classes of low recall, and slices of low accuracy, that are named, the worst."""


class Decision(NamedTuple):
    """The decision of the gate."""

    reasons: list[str] | None
    """Why the model does not pass, empty if it passes; None without a gate."""
    against: Comparison | None
    """The model compared with the baseline; None without one."""


def check(
    metrics: Mapping[str, Any], gate: Gate | None, predictions: Path, baseline: Callable[[], Answers | None]
) -> Decision:
    """Decide whether a model passes the gate.

    Args:
        metrics: metrics/test.json.
        gate: evaluate.gate of params.yaml; None sets no limits.
        predictions: the model's plots/predictions.parquet.
        baseline: returns the predictions of the run that gate.baseline names, or None if there is none yet. The gate
            fails if it raises an ImagetrailError.

    """
    if gate is None:
        return Decision(None, None)
    try:
        other = baseline()
        against = None if other is None else paired.compare([other], [answers.read(predictions)])
        return Decision(problems(metrics, gate, against), against)
    except ImagetrailError as error:
        return Decision([str(error).rstrip(".")], None)


def problems(metrics: Mapping[str, Any], gate: Gate, against: Comparison | None) -> list[str]:
    """List the floors that a model misses, and the baseline that it loses to.

    Args:
        metrics: metrics/test.json.
        gate: evaluate.gate of params.yaml.
        against: the model compared with the baseline; None without one.
    """
    found = []
    if gate.accuracy is not None and metrics["accuracy"] < gate.accuracy:
        found.append(f"accuracy {metrics['accuracy']:.4f} is below {gate.accuracy:g}")
    if gate.recall is not None:
        recalls = {name: figures["recall"] for name, figures in metrics["per_class"].items() if figures["n"]}
        low = sorted((recall, name) for name, recall in recalls.items() if recall < gate.recall)
        found += [f"recall {recall:.4f} of {quoted(name)} is below {gate.recall:g}" for recall, name in low[:SHOWN]]
        if low[SHOWN:]:
            found.append(f"so is that of {len(low) - SHOWN} more classes")
    if gate.slice is not None:
        every = ((c, v, f) for c, values in metrics["slices"].items() for v, f in values.items())
        poor = sorted((f["accuracy"], c, v, f["n"]) for c, v, f in every if f["accuracy"] < gate.slice)
        found += [f"accuracy {share:.4f} of the {n} images with {c} = {quoted(v)} is below {gate.slice:g}"
                  for share, c, v, n in poor[:SHOWN]]  # fmt: skip
        if poor[SHOWN:]:
            found.append(f"so is that of {len(poor) - SHOWN} more slices")
    if gate.ece is not None and metrics["ece"] > gate.ece:
        found.append(f"calibration error {metrics['ece']:.4f} is above {gate.ece:g}")
    if against is not None and against.is_worse:
        first, second, _ = against.figures["accuracy"]
        found.append(
            f"accuracy {second.value:.4f} is less than the baseline's {first.value:.4f} on the same {against.n} "
            f"images, and {against.verdict()}"
        )
    return found


def enforce(decision: Decision) -> None:
    """Raise a GateError if the model does not pass."""
    if decision.reasons:
        raise GateError(
            f"the model does not pass evaluate.gate: {'; '.join(decision.reasons)}. Its figures are in metrics/."
        )
