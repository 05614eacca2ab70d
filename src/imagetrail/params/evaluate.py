"""Section `evaluate`: how the model is measured on the test rows, and what it must reach."""

from typing import Self

from pydantic import model_validator

from imagetrail.params.section import Device, NonEmpty, Positive, Section, Share


class Gate(Section):
    """Limits that a model must meet on the test rows, or `evaluate` fails; null sets no limit."""

    accuracy: Share | None
    """At least."""
    recall: Share | None
    """Minimum for every class, in [0, 1]."""
    ece: Share | None
    """Expected calibration error, at most."""
    baseline: NonEmpty | None
    """A run's id, or champion, the registry's: not worse on the same images than chance explains."""


class Evaluate(Section):
    """Settings of the evaluation on the test rows."""

    batch_size: Positive
    """Images in a step."""
    device: Device
    threads: Positive
    calibration_bins: Positive
    """Equal-width bins of confidence for the expected calibration error."""
    mistakes: Positive
    """Number of the most confident mistakes to draw."""
    gate: Gate | None
    registry: NonEmpty | None
    """Name in MLflow's registry, where a model that passes the gate becomes the champion, which `imagetrail predict`
    then takes."""

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        if self.registry is not None and self.gate is None:
            raise ValueError(
                f"registry = {self.registry!r} takes what passes evaluate.gate, which is null; set its floors"
            )
        if self.gate is not None and self.gate.baseline == "champion" and self.registry is None:
            raise ValueError("gate.baseline = 'champion' needs the registry's name; set evaluate.registry")
        return self
