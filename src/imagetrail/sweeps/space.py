"""Search spaces: files of sweeps/, each parameter by its dotted name with a range or a list of choices."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from imagetrail.errors import ParamsError, nearest
from imagetrail.params import yaml_text
from imagetrail.params.section import Leaf

if TYPE_CHECKING:
    import optuna

SPACES = Path("sweeps")
TRIED = ("model.", "train.")
"""Sections that a trial may change: it only trains, on the existing tensors and split."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Dimension(_Model):
    """The values of one parameter: from `low` to `high`, both included, or one of `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool | None = None
    """Draw the logarithm evenly, as for learning rates."""
    step: int | float | None = None
    """Distance of the values that may be drawn; null draws any."""
    choices: Annotated[list[Leaf], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        is_range = self.low is not None and self.high is not None and self.choices is None
        if not is_range and (self.choices is None or self.model_fields_set != {"choices"}):
            raise ValueError("must have low and high, with log or step, or only choices")
        if is_range and not self.low < self.high:  # type: ignore[operator]
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.log and (self.step is not None or self.low <= 0):  # type: ignore[operator]
            raise ValueError("log needs low above 0, and no step")
        return self

    def draw(self, trial: "optuna.Trial", name: str) -> Leaf:
        """Draw a value for a trial."""
        if self.choices is not None:  # Optuna takes no lists, JSON does
            return self.value(trial.suggest_categorical(name, [json.dumps(choice) for choice in self.choices]))
        assert self.low is not None and self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float):
            return trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=bool(self.log))
        return self.value(trial.suggest_float(name, self.low, self.high, step=self.step, log=bool(self.log)))

    def value(self, kept: str | float) -> Leaf:
        """Translate a trial's parameter from Optuna's form to that of params.yaml."""
        if self.choices is not None:
            chosen: Leaf = json.loads(str(kept))
            return chosen
        if self.step is not None and isinstance(kept, float):
            return float(f"{kept:.12g}")  # 0.3, not 0.30000000000000004
        return kept


class Space(_Model):
    """A file of sweeps/."""

    about: str
    """One-line description."""
    objective: Literal["val_accuracy", "val_loss"]
    """Figure of the kept epoch: the accuracy is maximised, the loss minimised."""
    parameters: Annotated[dict[str, Dimension], Field(min_length=1)]

    @model_validator(mode="after")
    def _train_alone(self) -> Self:
        check_names(self.parameters)
        return self

    def draw(self, trial: "optuna.Trial") -> dict[str, Leaf]:
        """Draw a value for every parameter."""
        return {name: dimension.draw(trial, name) for name, dimension in self.parameters.items()}

    def values(self, kept: Mapping[str, str | float]) -> dict[str, Leaf]:
        """Translate a trial's parameters from Optuna's form to that of params.yaml."""
        return {name: self.parameters[name].value(value) for name, value in kept.items()}


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a parameter that concerns more than the training."""
    for name in names:
        if not name.startswith(TRIED):
            raise ValueError(
                f"{name} is not in the sections model and train, and a trial trains on the existing tensors and split; "
                "set it in params.yaml"
            )


def read(root: Path, name: str) -> Space:
    """Read a search space by its name.

    Raises:
        ParamsError: there is no such file, or it is wrong.
    """
    names = sorted(path.stem for path in (root / SPACES).glob("*.yaml"))
    if name not in names:
        raise ParamsError(f"{name!r} is not a file of {SPACES}; {nearest(name, names)}")
    path = SPACES / f"{name}.yaml"
    try:
        return Space.model_validate(yaml_text.parse((root / path).read_text(encoding="utf-8"), path.as_posix()))
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")
            for problem in error.errors()
        ]
        raise ParamsError(f"{path} is not a search space: " + "; ".join(dict.fromkeys(lines))) from None
