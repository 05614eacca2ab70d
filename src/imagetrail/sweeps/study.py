"""A sweep as a whole: its workers, its run in MLflow with the trials below it, and the winner."""

import csv
import hashlib
import io
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

import imagetrail
from imagetrail import console, programs
from imagetrail.addresses import shown
from imagetrail.console import warn
from imagetrail.errors import ImagetrailError, ParamsError
from imagetrail.evaluate import paired
from imagetrail.evaluate.paired import LEVEL, Interval
from imagetrail.files import artifacts
from imagetrail.model import arithmetic
from imagetrail.params import overrides
from imagetrail.params.load import Params
from imagetrail.sweeps import held_out, suspects
from imagetrail.sweeps import space as spaces
from imagetrail.sweeps.design import Design, Folds, Replicates, Search, complete
from imagetrail.sweeps.held_out import HeldOut
from imagetrail.sweeps.suspects import Suspect
from imagetrail.sweeps.worker import (
    FAILURE,
    RUN,
    TRIAL_PROCESS,
    Plan,
    open_storage,
    open_study,
    retry_lost,
    taken,
)
from imagetrail.tracking import contents, registry, store
from imagetrail.tracking.calls import LinkParts, LogText, SetTags
from imagetrail.tracking.run import Run
from imagetrail.tracking.tags import SWEEP
from imagetrail.train import checkpoints

WORKPLACES = Path(".imagetrail/sweeps")
STUDIES = Path(".imagetrail/sweeps.db")
REQUEST = "sweep/request.json"
"""Artifact: what was asked for; see Request."""
PARENT_RUN, TRIALS = "parent_run", "trials"
"""Noted beside a study: its run in MLflow, and the number of its trials."""


@dataclass(frozen=True)
class Request:
    """The request for a sweep."""

    space: str
    """Name of a file of sweeps/."""
    folds: int
    """Folds of cross-validation, which takes the parameters as they are; 0 for none."""
    seeds: int
    """Seeds under which the parameters are trained as they are; 0 for none, and without folds searches the space."""
    trials: int
    workers: int
    changes: Mapping[str, str]
    """Parameters of the sections model and train that all trials have, by dotted name, as they are typed; or recipe."""
    storage: str | None
    """Address of a database that other machines reach too; None is a file of this checkout."""


def run(root: Path, request: Request) -> "Outcome":
    """Run a sweep, or go on with the one of the same parameters, data and code.

    Raises:
        ParamsError: a parameter, the space or the request is wrong; nothing has run.
        ImagetrailError: the pipeline's first stages fail, or every trial did.
    """
    changes = overrides.of_arguments(root, request.changes)
    params = _check(root, request, changes)
    programs.run(root, "dvc", "repro", "split")
    plan = _plan(root, request, changes, params)
    study = open_study(plan, 0)
    retry_lost(study)  # their checkpoints are found, since the parameters are the same
    trials = study.get_trials(deepcopy=False)
    plan.design.queue(study, [*taken(trials), *(t for t in trials if t.state == TrialState.WAITING)])
    study.set_user_attr(TRIALS, plan.design.trials)
    tracked = Run(root)
    tracked.close_dead_runs()
    known = study.user_attrs.get(PARENT_RUN)
    tags = contents.versions() | {SWEEP: plan.study} | plan.design.tags
    with tracked.open(tracked.adopted_id() or known, plan.design.title, tags):
        if tracked.id is not None:
            study.set_user_attr(PARENT_RUN, tracked.id)
        contents.log_params(tracked, params)
        contents.log_environment(tracked)
        contents.log_dataset(tracked, params, artifacts.read_dataset(root))
        tracked.log(LogText(path=REQUEST, text=json.dumps(_repeatable(request), indent=2) + "\n"))
        if isinstance(plan.design, Search):
            tracked.log_files("sweep", [root / spaces.SPACES / f"{request.space}.yaml"])
        plan = plan.model_copy(update={"parent": tracked.id})
        _work(root, plan, study, arithmetic.environment(params.train.arithmetic))
        outcome = Outcome.of(study, plan).measured(root)
        outcome.log(tracked, study, params)
    return outcome


def join(root: Path, request: Request) -> "Outcome":
    """Add workers to a sweep that was started with the same parameters, data and code, perhaps on another machine.

    Raises:
        ParamsError: as `run`.
        ImagetrailError: there is no such sweep, or as `run`.
    """
    changes = overrides.of_arguments(root, request.changes)
    params = _check(root, request, changes)
    programs.run(root, "dvc", "repro", "split")
    plan = _plan(root, request, changes, params)
    known = optuna.get_all_study_names(open_storage(plan.storage))
    study = open_study(plan, 0) if plan.study in known else None
    if study is None or TRIALS not in study.user_attrs:
        raise ImagetrailError(
            f"{shown(plan.storage)} holds no sweep {plan.study} to join; start it without --join, and give both the "
            "same parameters, data, code and --storage."
        )
    design = plan.design.model_copy(update={"trials": study.user_attrs[TRIALS]})
    begun = {"parent": study.user_attrs.get(PARENT_RUN), "design": design, "first": secrets.randbelow(2**30) + 1}
    plan = plan.model_copy(update=begun)
    _work(root, plan, study, arithmetic.environment(params.train.arithmetic))
    return Outcome.of(study, plan).measured(root)


def _repeatable(request: Request) -> dict[str, object]:
    """Return what a repetition needs; the address may hold a password."""
    return {name: value for name, value in asdict(request).items() if name != "storage"}


def _check(root: Path, request: Request, changes: Sequence[str]) -> Params:
    if min(request.trials, request.workers) < 1 or min(request.folds, request.seeds) < 0 or request.folds == 1:
        raise ParamsError(
            f"trials = {request.trials}, workers = {request.workers}, folds = {request.folds} and seeds = "
            f"{request.seeds}: the first two are at least 1, folds at least 2 or 0, seeds at least 1 or 0."
        )
    if request.folds and request.seeds:
        raise ParamsError("--folds and --seeds exclude each other; leave one of them out.")
    try:
        spaces.check_names([change.lstrip("+~").partition("=")[0] for change in changes])
    except ValueError as error:
        raise ParamsError(f"{error}.") from None
    params = overrides.check(root, changes)
    if params.split.val == 0 and not request.seeds:
        raise ParamsError("split.val = 0 leaves no rows to choose by; set it above 0 for a sweep.")
    return params


def _plan(root: Path, request: Request, changes: Sequence[str], params: Params) -> Plan:
    """Name the sweep after everything that decides its figures, so that an equal sweep resumes and another starts."""
    design = _design(root, request, params)
    rows = [artifacts.file_sha256(root / artifacts.SPLIT / f"{side}.npy") for side in design.sides]
    decisive = [
        params.model_dump(mode="json", exclude=design.without), rows,
        design.model_dump(mode="json", exclude_none=True, exclude={"trials"} if design.open_ended else set()),
        artifacts.read_dataset(root).sha256, checkpoints.source_sha256(),
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]
    workspace = artifacts.workspace(root).resolve()
    (workspace / STUDIES).parent.mkdir(exist_ok=True)
    return Plan(
        root=str(root.resolve()),
        study=f"{design.name}-{digest}",
        storage=request.storage or store.sqlite_address(workspace / STUDIES),
        changes=list(changes),
        design=design,
        workers=request.workers,
    )


def _design(root: Path, request: Request, params: Params) -> Design:
    if request.folds:
        return Folds(name=f"{request.folds}-folds", trials=request.folds)
    if request.seeds:
        return Replicates(name="seeds", trials=request.seeds, first_seed=params.train.seed)
    return Search(name=request.space, trials=request.trials, space=spaces.read(root, request.space))


def _work(root: Path, plan: Plan, study: optuna.Study, environment: dict[str, str]) -> None:
    """Start the workers and show how far they are; whatever happens, none is left."""
    folder = artifacts.workspace(root).resolve() / WORKPLACES / plan.study
    folder.mkdir(parents=True, exist_ok=True)
    plan.write(folder / "plan.json")
    source = str(Path(imagetrail.__file__).parents[1])
    environment = {name: value for name, value in environment.items() if name != "MLFLOW_RUN_ID"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [source, environment.get("PYTHONPATH")]))
    if plan.workers > 1:  # threads that spin while they wait starve the other workers' threads
        environment.setdefault("OMP_WAIT_POLICY", "passive")
    processes, logs = [], [folder / f"worker-{number}.log" for number in range(plan.workers)]
    try:
        for number, log in enumerate(logs):
            with log.open("wb") as output:
                where, which = str(folder / "plan.json"), str(plan.first + number)
                command = [sys.executable, "-m", "imagetrail.sweeps.worker", where, which]
                processes.append(subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=output))
        deaths: dict[int, str] = {}
        with console.bar("sweep", total=plan.design.trials, unit="trial") as moving:
            working = True
            while working:
                working = None in [process.poll() for process in processes]  # each is asked, whatever the others say
                for process, log in zip(processes, logs, strict=True):
                    if process.returncode and process.pid not in deaths:
                        deaths[process.pid] = _death(study, process, log)
                        warn(f"{deaths[process.pid]}; its trial is left to the others.")
                        retry_lost(study)
                moving.update(_done(study) - moving.n)
                time.sleep(0.5 if working else 0)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    if _done(study) < plan.design.trials:
        died = [_death(study, p, log) for p, log in zip(processes, logs, strict=True) if p.returncode]
        raise ImagetrailError(f"{'; '.join(died)}; the same command resumes the sweep.")


def _death(study: optuna.Study, process: "subprocess.Popen[bytes]", log: Path) -> str:
    code = process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return f"a worker of the sweep {how}{_in_trial(study, process.pid)}, see its own words in {log}"


def _in_trial(study: optuna.Study, pid: int) -> str:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    trials = [trial.number for trial in running if f"|{pid}|" in trial.user_attrs.get(TRIAL_PROCESS, "")]
    return f" in trial {trials[0]}" if trials else ""


def _done(study: optuna.Study) -> int:
    return sum(t.state.is_finished() for t in taken(study.get_trials(deepcopy=False)))


@dataclass(frozen=True)
class Outcome:
    """The result of a sweep."""

    plan: Plan
    trials: list[FrozenTrial]
    """Complete and pruned trials, in the order in which they started."""
    interval: Interval | None = None
    """Of the mean test accuracy, over seeds and images; None but for replicates, and where the store is away."""
    found: tuple[list[Suspect], HeldOut] | None = None
    """Labels that are probably wrong, and the answers of all folds; None but for folds, and where the store is away."""

    @classmethod
    def of(cls, study: optuna.Study, plan: Plan) -> "Outcome":
        """Read the state of a study.

        Raises:
            ImagetrailError: no trial finished.
        """
        trials = taken(study.get_trials(deepcopy=False))
        if not any(trial.state == TrialState.COMPLETE for trial in trials):
            reason = next((trial.user_attrs[FAILURE] for trial in trials if FAILURE in trial.user_attrs), "none began")
            raise ImagetrailError(f"no trial of the sweep finished; the first failed: {reason}")
        return cls(plan, trials)

    def measured(self, root: Path) -> "Outcome":
        """Return the outcome with what follows from the answers in the store: see `interval` and `found`."""
        if self.plan.parent is None:
            return self
        try:
            match self.plan.design:
                case Replicates():
                    answers = registry.logged_run(root, self.plan.parent).answers
                    return replace(self, interval=paired.accuracy(answers))
                case Folds():
                    with registry.of_folds(root, self.plan.parent, held_out.HELD_OUT) as folders:
                        answered = held_out.read(folders)
                    return replace(self, found=(suspects.find(answered), answered))
        except ImagetrailError as error:  # what has finished is not lost for that
            warn(f"a part of the sweep's result is missing: {error}")
        return self

    @property
    def figures(self) -> dict[str, float]:
        """The sweep's own metrics."""
        ends = {} if self.interval is None else {"low": self.interval.low, "high": self.interval.high}
        more = {f"seeds/test_accuracy_{name}": end for name, end in ends.items()}
        if self.found is not None:
            more["folds/suspects"] = float(len(self.found[0]))
        return self.plan.design.figures(self.trials) | more

    def apply(self, root: Path) -> None:
        """Put the winner's parameters into params.yaml, comments kept."""
        design = self.plan.design
        assert isinstance(design, Search), "cli.py asks for it"
        values = design.space.values(design.best(self.trials).params)
        overrides.apply(root, [*self.plan.changes, *overrides.of_values(values)])

    def summary(self) -> str:
        """Format the answer for the terminal."""
        lines = [self.plan.design.summary(self.trials)]
        if self.interval is not None:
            ends = f"{self.interval.low:.4f} to {self.interval.high:.4f}"
            lines.append(f"{LEVEL:.0%} interval over seeds and images: {ends}.")
        if self.found is not None:
            found, answered = self.found
            lines.append(
                f"{len(found):,} of {len(answered.images):,} labels are probably wrong; the run shows them in "
                f"sweep/{suspects.PAGE}."
            )
        return " ".join(lines)

    def log(self, run: Run, study: optuna.Study, params: Params) -> None:
        """Put figures, the table of trials, pictures and pages into the sweep's run."""
        tags = {"mlflow.note.content": self.summary()} | self.plan.design.tags
        if isinstance(self.plan.design, Search):
            for trial in self.trials:
                if trial.value is not None:
                    run.log_metrics({"sweep/objective": trial.value}, step=trial.number)
            best = self.plan.design.best(self.trials).user_attrs.get(RUN)  # None too where the store was away
            tags |= {} if best is None else {"imagetrail.best_run_id": best}
        run.log_metrics(self.figures)
        run.log(LogText(path="sweep/trials.csv", text=self._table()))
        run.log(SetTags(tags=tags))
        if self.plan.parent is None:
            run.log(LinkParts(sweep=self.plan.study))
        with tempfile.TemporaryDirectory() as folder:
            if pictures := _draw(study, self, Path(folder)):
                run.log_files("sweep", pictures)
            if self.found is not None:
                pages = suspects.write(Path(folder), *self.found, run.root, params.download.corrections)
                run.log_files("sweep", pages)

    def _table(self) -> str:
        names = sorted({name for trial in self.trials for name in trial.params})
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", "state", "value", *names, "run", "reason"])
        for trial in self.trials:
            values = [trial.params.get(name, "") for name in names]
            notes = [trial.user_attrs.get(name, "") for name in (RUN, FAILURE)]
            writer.writerow(
                [trial.number, trial.state.name, "" if trial.value is None else trial.value, *values, *notes]
            )
        return text.getvalue()


def _draw(study: optuna.Study, outcome: Outcome, folder: Path) -> list[Path]:
    """Draw history.png, and importance.png where there are enough trials."""
    from imagetrail.sweeps import charts

    design = outcome.plan.design
    if isinstance(design, Replicates):
        return []
    drawn = [charts.history(folder / "history.png", outcome.trials, minimised=design.minimised)]
    if isinstance(design, Search) and len({trial.value for trial in complete(outcome.trials)}) > 1:
        drawn.append(charts.importance(folder / "importance.png", study))
    return drawn
