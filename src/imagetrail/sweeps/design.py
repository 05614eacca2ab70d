"""What the trials of a sweep are: points of a space, folds of cross-validation, or replicates under several seeds."""

import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from imagetrail.files import arrays
from imagetrail.files.arrays import Rows
from imagetrail.params.load import Params
from imagetrail.params.section import Leaf
from imagetrail.sweeps import trial
from imagetrail.sweeps.folds import Fold
from imagetrail.sweeps.space import Space
from imagetrail.sweeps.trial import OnTrialEpoch
from imagetrail.tracking.contents import text
from imagetrail.tracking.tags import REPLICATES, TRIAL
from imagetrail.train.loop import Trained


class _Design(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    part: ClassVar[str | None] = None
    """The one parameter of trials that are numbered parts of a whole, each of which runs once; None if any may run."""
    sides: ClassVar[tuple[Rows, ...]] = ("train", "val")
    """Rows that the values depend on."""
    without: ClassVar[set[str]] = {"machine", "evaluate"}
    """Sections of params.yaml that they do not depend on."""
    open_ended: ClassVar[bool] = True
    """Whether more trials belong to the same study."""
    name: str
    """First part of the study's name."""
    trials: int

    @property
    @abstractmethod
    def title(self) -> str:
        """Name of the sweep's run."""

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the sweep's run."""
        return {}

    @property
    def minimised(self) -> bool:
        """Whether smaller values are better."""
        return False

    def pruner(self) -> optuna.pruners.BasePruner:
        """Return what stops trials early."""
        return optuna.pruners.NopPruner()

    def queue(self, study: optuna.Study, known: Sequence[FrozenTrial]) -> None:
        """Queue the trials that must run and that none of the known ones is."""

    def changes(self, begun: Trial) -> Mapping[str, Leaf]:
        """Return the parameters that a trial has of its own, by dotted name."""
        return {}

    @abstractmethod
    def run(self, root: Path, params: Params, begun: Trial, tags: dict[str, str], on_epoch: OnTrialEpoch) -> float:
        """Run a trial with its parameters, and return its value."""

    @abstractmethod
    def figures(self, trials: Sequence[FrozenTrial]) -> dict[str, float]:
        """Return the metrics of the sweep's run."""

    @abstractmethod
    def summary(self, trials: Sequence[FrozenTrial]) -> str:
        """Format the answer for the terminal."""


class Search(_Design):
    """Parameters drawn from a space, compared on the validation rows."""

    kind: Literal["search"] = "search"
    space: Space

    @property
    @override
    def title(self) -> str:
        return f"sweep {self.name}"

    @property
    @override
    def minimised(self) -> bool:
        return self.space.objective == "val_loss"

    @override
    def pruner(self) -> optuna.pruners.BasePruner:
        return optuna.pruners.MedianPruner(n_startup_trials=5)

    @override
    def changes(self, begun: Trial) -> Mapping[str, Leaf]:
        return self.space.draw(begun)

    @override
    def run(self, root: Path, params: Params, begun: Trial, tags: dict[str, str], on_epoch: OnTrialEpoch) -> float:
        rows = arrays.open_subset(root, "train"), arrays.open_subset(root, "val")
        drawn = self.space.values(begun.params)
        shown = (f"{key.rpartition('.')[2]}={_short(value)}" for key, value in drawn.items())
        name = f"trial {begun.number} {' '.join(shown)}"
        return self._value(trial.train(root, params, rows, name, tags | {TRIAL: str(begun.number)}, on_epoch))

    def _value(self, trained: Trained) -> float:
        value = trained.kept.val_loss if self.minimised else trained.kept.val_accuracy
        assert value is not None, "study.py refuses a split without validation rows"
        return value

    @override
    def figures(self, trials: Sequence[FrozenTrial]) -> dict[str, float]:
        counts = {state.name.lower(): sum(t.state == state for t in trials) for state in TrialState}
        value = self.best(trials).value
        assert value is not None
        return {"sweep/best": value} | {f"sweep/{name}": float(counts[name]) for name in ("complete", "pruned", "fail")}

    def best(self, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Return the winner."""
        return (min if self.minimised else max)(complete(trials), key=lambda t: t.value or 0.0)

    @override
    def summary(self, trials: Sequence[FrozenTrial]) -> str:
        best = self.best(trials)
        lines = [f"  {name}: {text(value)}" for name, value in self.space.values(best.params).items()]
        figures = self.figures(trials)
        counts = ", ".join(f"{int(v)} {n.removeprefix('sweep/')}" for n, v in figures.items() if n != "sweep/best")
        first = f"best of {len(trials)} trials ({counts}): {self.space.objective} {best.value:.4f}"
        return "\n".join([f"{first} in trial {best.number}", *lines])


class _Parts(_Design):
    """Numbered parts of a whole, whose values have a mean and a spread."""

    part: ClassVar[str]
    figure: ClassVar[str]

    @override
    def queue(self, study: optuna.Study, known: Sequence[FrozenTrial]) -> None:
        numbers = {t.params.get(self.part, t.system_attrs.get("fixed_params", {}).get(self.part)) for t in known}
        for number in range(self.trials):
            if number not in numbers:
                study.enqueue_trial({self.part: number})

    def _number(self, begun: Trial) -> int:
        return begun.suggest_int(self.part, 0, self.trials - 1)

    @override
    def figures(self, trials: Sequence[FrozenTrial]) -> dict[str, float]:
        values = [t.value for t in complete(trials) if t.value is not None]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return {f"{self.figure}_mean": statistics.mean(values), f"{self.figure}_std": spread}

    @override
    def summary(self, trials: Sequence[FrozenTrial]) -> str:
        mean, spread = self.figures(trials).values()
        name = self.figure.rpartition("/")[2].replace("_", " ").replace("val ", "validation ")
        done = f"{len(complete(trials))} of {self.trials} {self.figure.partition('/')[0]}"
        return f"{done}: {name} {mean:.4f} ± {spread:.4f} (standard deviation)."


class Folds(_Parts):
    """Cross-validation of params.yaml: each train or validation row validates once."""

    kind: Literal["folds"] = "folds"
    part: ClassVar[str] = "fold"
    figure: ClassVar[str] = "folds/val_accuracy"
    open_ended: ClassVar[bool] = False

    @property
    @override
    def title(self) -> str:
        return f"{self.trials}-fold cross-validation"

    @override
    def run(self, root: Path, params: Params, begun: Trial, tags: dict[str, str], on_epoch: OnTrialEpoch) -> float:
        trained = trial.train_fold(root, params, Fold(self._number(begun), self.trials), tags, on_epoch)
        assert trained.kept.val_accuracy is not None, "folds have validation rows"
        return trained.kept.val_accuracy


class Replicates(_Parts):
    """params.yaml under several seeds of the training, each model tested on the test rows."""

    kind: Literal["replicates"] = "replicates"
    part: ClassVar[str] = "replicate"
    figure: ClassVar[str] = "seeds/test_accuracy"
    sides: ClassVar[tuple[Rows, ...]] = get_args(Rows)
    without: ClassVar[set[str]] = {"machine"}
    first_seed: int
    """train.seed of the first; the others count on from it."""

    @property
    @override
    def title(self) -> str:
        return f"{self.trials} seeds"

    @property
    @override
    def tags(self) -> dict[str, str]:
        return {REPLICATES: str(self.trials), "mlflow.runName": self.title}  # which change when seeds are added

    @override
    def changes(self, begun: Trial) -> Mapping[str, Leaf]:
        return {"train.seed": self.first_seed + self._number(begun)}

    @override
    def run(self, root: Path, params: Params, begun: Trial, tags: dict[str, str], on_epoch: OnTrialEpoch) -> float:
        return trial.train_replicate(root, params, self._number(begun), tags, on_epoch)


Design = Annotated[Search | Folds | Replicates, Field(discriminator="kind")]


def complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that came to their end."""
    return [t for t in trials if t.state == TrialState.COMPLETE]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else text(value)  # type: ignore[arg-type]  # a leaf
