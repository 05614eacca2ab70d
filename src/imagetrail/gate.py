"""The gate behind `evaluate`: what a model must reach on the test rows, and whether it is worse than another."""

from collections.abc import Mapping
from typing import Any

from imagetrail.comparison import Comparison
from imagetrail.params import Gate


def problems(metrics: Mapping[str, Any], gate: Gate, against: Comparison | None) -> list[str]:
    """Why a model does not pass; empty where it does.

    Args:
        metrics: metrics/test.json.
        gate: evaluate.gate of params.yaml.
        against: the baseline against the model; None where the gate names none, or there is none yet.
    """
    found = []
    if gate.accuracy is not None and metrics["accuracy"] < gate.accuracy:
        found.append(f"accuracy {metrics['accuracy']:.4f} is below {gate.accuracy:g}")
    if gate.recall is not None:
        for name, figures in metrics["per_class"].items():
            if figures["n"] and figures["recall"] < gate.recall:
                found.append(f"recall {figures['recall']:.4f} of {name!r} is below {gate.recall:g}")
    if gate.ece is not None and metrics["ece"] > gate.ece:
        found.append(f"calibration error {metrics['ece']:.4f} is above {gate.ece:g}")
    if against is not None and against.is_worse:
        first, second, _ = against.figures["accuracy"]
        found.append(
            f"accuracy {second.value:.4f} is less than the baseline's {first.value:.4f} on the same {against.n} "
            f"images, and {against.verdict()}"
        )
    return found
