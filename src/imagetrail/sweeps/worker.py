"""A process of a sweep: runs trials until there are enough of them. `python -m imagetrail.sweeps.worker PLAN`."""

import socket
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import SQLAlchemyError

from imagetrail.addresses import reason, shown
from imagetrail.console import warn
from imagetrail.errors import ImagetrailError, Stopped, guard
from imagetrail.files import artifacts
from imagetrail.params import overrides
from imagetrail.params.load import Params
from imagetrail.sweeps.design import Design
from imagetrail.tracking.run import alive, process_tag
from imagetrail.tracking.tags import PARENT, SWEEP
from imagetrail.train.loop import Epoch

FAILURE, TRIAL_PROCESS, RUN = "failure", "process", "run"
"""Attributes of a trial: the reason of a failure, the process that runs it, its run in MLflow."""
HEARTBEAT, GRACE, LOOK = 10, 60, 1
"""Seconds between two signs of life of a trial, after which a silent one is tried again, and between two looks."""


class Plan(BaseModel):
    """The settings that the workers of a sweep share."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    root: str
    study: str
    """Name in the store of studies, and folder below .imagetrail/sweeps."""
    storage: str
    parent: str | None = None
    """The sweep's run."""
    changes: list[str]
    """Overrides of params.yaml that all trials have."""
    design: Design
    workers: int
    first: int = 0
    """Number of the first worker here; each draws its random numbers from its own."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan from JSON."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        artifacts.write_json(path, self.model_dump(mode="json", exclude_none=True))


def taken(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count: not those that wait or were interrupted, which failed without a reason."""
    return [
        t for t in trials
        if t.state != TrialState.WAITING and (t.state != TrialState.FAIL or FAILURE in t.user_attrs)
    ]  # fmt: skip


def open_storage(address: str) -> optuna.storages.RDBStorage:
    """Open the database of studies.

    A running trial tells it every HEARTBEAT seconds that it is alive; one that stops is tried again, by whichever
    worker looks next, on any machine.

    Raises:
        ImagetrailError: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a trial's failure is reported by us
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats are
    try:
        return optuna.storages.RDBStorage(
            address,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_queue_again,
        )
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise ImagetrailError(
            f"the sweep's storage {shown(address)} cannot be opened ({reason(error)}); start the database, or correct "
            "--storage."
        ) from None


def open_study(plan: Plan, number: int) -> optuna.Study:
    """Open the study, or create it.

    Args:
        plan: the sweep.
        number: of the worker, so that each draws its own random numbers.

    Raises:
        ImagetrailError: the storage cannot be opened.
    """
    return optuna.create_study(
        storage=open_storage(plan.storage),
        study_name=plan.study,
        direction="minimize" if plan.design.minimised else "maximize",
        sampler=optuna.samplers.TPESampler(seed=number, constant_liar=True),
        pruner=plan.design.pruner(),
        load_if_exists=True,
    )


def retry_lost(study: optuna.Study, nameless: dict[int, float] | None = None) -> None:
    """Queue again the trials whose process is gone: at once on this machine, after GRACE seconds on others.

    Args:
        study: of the sweep.
        nameless: kept from look to look: the running trials that name no process, since it was killed before it could
            say so or is about to, and when each was first seen (`time.monotonic`). None leaves them alone.
    """
    optuna.storages.fail_stale_trials(study)
    now = time.monotonic()
    for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = running.user_attrs.get(TRIAL_PROCESS, "").partition("|")
        if process:
            lost = host == socket.gethostname() and not alive(process)
        else:
            lost = nameless is not None and now - nameless.setdefault(running.number, now) >= GRACE
        if lost:
            with suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another worker was first
                study.tell(running.number, state=TrialState.FAIL)
                _queue_again(study, running)


def _queue_again(study: optuna.Study, lost: FrozenTrial) -> None:
    asked = lost.system_attrs.get("fixed_params", {})  # what it was queued with and may not have drawn yet
    study.enqueue_trial({**asked, **lost.params})


def work(plan: Plan, number: int) -> None:
    """Run trials until enough of them have finished, here or elsewhere."""
    study = open_study(plan, number)
    nameless: dict[int, float] = {}

    def objective(begun: Trial) -> float:
        trials = study.get_trials(deepcopy=False)
        before = [t for t in taken(trials) if t.number < begun.number]
        queued = "fixed_params" in trials[begun.number].system_attrs
        if len(before) >= plan.design.trials or (plan.design.part is not None and not queued):
            raise _Surplus
        begun.set_user_attr(TRIAL_PROCESS, process_tag())
        try:
            return _run(Path(plan.root), plan, begun)
        except Stopped:
            raise optuna.TrialPruned from None
        except ImagetrailError as error:
            begun.set_user_attr(FAILURE, str(error))
            warn(f"trial {begun.number} failed: {error}")
            raise

    while (state := _state(study, plan)) != "done":
        if state == "wait":
            time.sleep(LOOK)
            retry_lost(study, nameless)
        else:
            study.optimize(objective, n_trials=1, catch=(ImagetrailError, _Surplus))


class _Surplus(Exception):  # noqa: N818  # no error: two workers began the last trial at once, and this one ends
    """A trial that nobody asked for."""


def _state(study: optuna.Study, plan: Plan) -> Literal["begin", "wait", "done"]:
    """Return what a worker has to do: begin a trial, wait for those of others, or end."""
    trials = study.get_trials(deepcopy=False)
    lacking = plan.design.part is None and len(taken(trials)) < plan.design.trials
    if lacking or any(trial.state == TrialState.WAITING for trial in trials):
        return "begin"
    return "wait" if any(trial.state == TrialState.RUNNING for trial in trials) else "done"


def _run(root: Path, plan: Plan, begun: Trial) -> float:
    """Run a trial and return its objective."""
    own = overrides.of_values(plan.design.changes(begun))
    params = overrides.check(root, [*plan.changes, *own])
    tags = {SWEEP: plan.study} | ({} if plan.parent is None else {PARENT: plan.parent})

    def on_epoch(epoch: Epoch, run_id: str | None) -> None:
        begun.set_user_attr(RUN, run_id)
        _report(begun, plan, params, epoch)

    return plan.design.run(root, params, begun, tags, on_epoch)


def _report(begun: Trial, plan: Plan, params: Params, epoch: Epoch) -> None:
    """Report an epoch to the study; stop where the median of the others was better at that point."""
    value = epoch.val_loss if plan.design.minimised else epoch.val_accuracy
    if value is None:  # without validation rows
        return
    begun.report(value, epoch.epoch)
    if epoch.epoch < params.train.epochs and begun.should_prune():
        raise Stopped


def main() -> None:
    """Run the process."""
    work(Plan.read(Path(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    guard(main)
