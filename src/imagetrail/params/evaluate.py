"""Section `evaluate`: the evaluation on the test rows, and the limits that a model must meet."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from imagetrail.params.section import Device, NonEmpty, Positive, Prose, Section, Share, Threads


class Gate(Section):
    """Limits that a model must meet on the test rows, or `evaluate` fails; null sets no limit."""

    accuracy: Share | None
    """Minimum, in [0, 1]."""
    recall: Share | None
    """Minimum for every class, in [0, 1]."""
    slice: Share | None
    """Minimum accuracy for every slice of the columns that download.columns keeps, in [0, 1]."""
    ece: Share | None
    """Maximum of the expected calibration error, in [0, 1]."""
    baseline: NonEmpty | None
    """A run's id, or `champion` for the registry's: a significantly less accurate model fails."""


class Evaluate(Section):
    """Settings of the evaluation on the test rows."""

    batch_size: Positive
    """Images per batch."""
    device: Device
    threads: Threads
    calibration_bins: Annotated[int, Field(ge=1, le=10_000)]
    """Equal-width bins of confidence for the expected calibration error."""
    mistakes: Annotated[int, Field(ge=1, le=1000)]
    """Number of the most confident mistakes to draw."""
    intended_use: Prose | None
    """What the model is for, and what not, for plots/report.html, which is its card."""
    licence: Prose | None
    """Terms of the model and of its data, for the same page."""
    gate: Gate | None
    registry: NonEmpty | None
    """Name in MLflow's registry, where a model that passes the gate becomes the champion, which `imagetrail predict`
    then uses."""

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        if self.registry is not None and self.gate is None:
            raise ValueError(
                f"registry = {self.registry!r} takes what passes evaluate.gate, which is null; set its floors"
            )
        if self.gate is not None and self.gate.baseline == "champion" and self.registry is None:
            raise ValueError("gate.baseline = 'champion' needs the registry's name; set evaluate.registry")
        return self
