"""Find runs, their predictions for the test images, and the champion among the registered models."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imagetrail.addresses import reason
from imagetrail.compare.runs import LoggedRun
from imagetrail.errors import ArtifactError, ImagetrailError, natural_key
from imagetrail.evaluate import answers as answer_files
from imagetrail.evaluate.answers import Answers
from imagetrail.params.evaluate import Evaluate
from imagetrail.tracking import store
from imagetrail.tracking.tags import EVALUATION, FOLD, MODEL_SHA256, PARENT, REPLICATE, REPLICATES, TEST_ROWS

if TYPE_CHECKING:
    import mlflow

CHAMPION = "champion"
"""Alias of the registered model that passed the gate last."""
PREDICTIONS = "evaluation/predictions.parquet"


def baseline(root: Path, options: Evaluate) -> Answers | None:
    """Fetch the predictions of evaluate.gate.baseline; None if no run is named, or there is no champion yet.

    Raises:
        ArtifactError: the store has no such run, or it has no predictions.
    """
    name = None if options.gate is None else options.gate.baseline
    if name == CHAMPION:
        assert options.registry is not None, "params/evaluate.py asks for it"
        name = champion(root, options.registry)
    return None if name is None else answers(root, name)


def logged_run(root: Path, reference: str) -> LoggedRun:
    """Fetch the values of a run that `compare` needs; `reference` as in `find`.

    Raises:
        ArtifactError: there is no such run, or it holds no answers.
    """
    run = find(root, reference)
    inputs = run.inputs.dataset_inputs if run.inputs else []
    trainings = _trainings(root, run)
    return LoggedRun(
        id=run.info.run_id,
        name=f"{run.info.run_name} ({run.info.run_id[:6]})",
        parameters=run.data.params,
        digest=inputs[0].dataset.digest if inputs else None,
        test_rows=trainings[0].data.tags.get(TEST_ROWS),
        answers=[answers(root, training.info.run_id) for training in trainings],
    )


def _trainings(root: Path, run: "mlflow.entities.Run") -> list["mlflow.entities.Run"]:
    """Return the runs whose models a comparison covers: the replicates below a run of them, or the run itself."""
    if REPLICATES not in run.data.tags:
        return [run]
    with asked(root, f"the replicates of run {run.info.run_id!r} cannot be found") as client:
        newest = _parts(client, run, REPLICATE)
    newest = {number: part for number, part in newest.items() if EVALUATION in part.data.tags}
    if not newest:
        raise ArtifactError(f"no training of run {run.info.run_id!r} has finished; run its sweep again.")
    return [newest[number] for number in sorted(newest, key=int)]


def _parts(client: "mlflow.MlflowClient", run: "mlflow.entities.Run", tag: str) -> dict[str, "mlflow.entities.Run"]:
    """Return the newest finished run of each part of a sweep, by the value of the tag that numbers the parts."""
    below = f"tags.`{PARENT}` = '{run.info.run_id}' and attributes.status = 'FINISHED'"
    found = client.search_runs([run.info.experiment_id], below, max_results=10_000)
    return {part.data.tags[tag]: part for part in reversed(found) if tag in part.data.tags}


@contextmanager
def of_folds(root: Path, run_id: str, folder: str) -> Iterator[list[Path]]:
    """Download a folder of the artifacts of every fold below a run, in the order of the folds; they go with the block.

    Raises:
        ArtifactError: the store does not answer, or a fold has no such folder.
    """
    problem = f"the folds of run {run_id!r} have no {folder}"
    with tempfile.TemporaryDirectory() as name:
        with asked(root, problem) as client:
            parts = _parts(client, client.get_run(run_id), FOLD)
            found = [parts[number] for number in sorted(parts, key=natural_key)]
            places = [Path(name) / str(number) for number in range(len(found))]
            for place, part in zip(places, found, strict=True):
                place.mkdir()
                client.download_artifacts(part.info.run_id, folder, str(place))
        yield [place / folder for place in places]


def answers(root: Path, run_id: str) -> Answers:
    """Fetch the predictions of a run's model for the test images.

    Raises:
        ArtifactError: the store has no such run, or it holds no answers.
    """
    with asked(root, f"the run {run_id!r} has no {PREDICTIONS}") as client, tempfile.TemporaryDirectory() as folder:
        return answer_files.read(Path(client.download_artifacts(run_id, PREDICTIONS, folder)))


def find(root: Path, reference: str) -> "mlflow.entities.Run":
    """Find a run by its id, the start of its id, its name, or `champion:NAME` of the registry.

    Raises:
        ArtifactError: there is none, or there are several.
    """
    with asked(root, f"{reference!r} is not a run") as client:
        if reference.startswith(f"{CHAMPION}:"):
            run_id = champion(root, reference.partition(":")[2])
            if run_id is None:
                raise ArtifactError(f"{reference!r}: no model has passed the gate yet; set evaluate.registry.")
            return client.get_run(run_id)
        if re.fullmatch("[0-9a-f]{32}", reference):
            return client.get_run(reference)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = [
            run
            for run in client.search_runs(experiments, max_results=10_000)
            if run.info.run_id.startswith(reference) or run.info.run_name == reference
        ]
        if len(found) != 1:
            several = "; ".join(f"{run.info.run_id} ({run.info.run_name})" for run in found[:5])
            raise ArtifactError(
                f"{reference!r} matches {len(found)} runs: {several}; give more of the id."
                if found
                else f"no run has the id or name {reference!r}; `mlflow ui` lists them."
            )
        return found[0]


def of_model(root: Path, sha256: str) -> str | None:
    """Return the id of the newest run of a model, in all experiments; None if there is none.

    Raises:
        ArtifactError: the store does not answer.
    """
    with asked(root, f"the run of the model {sha256[:12]}… cannot be found") as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(
            experiments, f"tags.`{MODEL_SHA256}` = '{sha256}'", order_by=["attributes.start_time DESC"], max_results=1
        )
        return str(found[0].info.run_id) if found else None


def looks(client: "mlflow.MlflowClient", test_rows: str) -> int:
    """Count the models that were tested on some rows, in all experiments; `test_rows` is the tag TEST_ROWS."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{TEST_ROWS}` = '{test_rows}'", max_results=50_000)
    return len({run.data.tags.get(MODEL_SHA256, run.info.run_id) for run in found})


def judged(root: Path, test_rows: str | None) -> int | None:
    """Count as `looks` does; None if the rows are not known.

    Raises:
        ArtifactError: the store does not answer.
    """
    if test_rows is None:
        return None
    with asked(root, "the models that the test rows have judged cannot be counted") as client:
        return looks(client, test_rows)


def champion(root: Path, name: str) -> str | None:
    """Return the id of the run whose model is the champion; None if there is none yet.

    Raises:
        ArtifactError: the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    with asked(root, f"the champion of {name!r} cannot be asked for") as client:
        try:
            return str(client.get_model_version_by_alias(name, CHAMPION).run_id)
        except MlflowException as error:
            if error.get_http_status_code() in (400, 404):  # no such model, no such alias
                return None
            raise


def test_rows(root: Path, run_id: str) -> str | None:
    """Return the tag TEST_ROWS of a run; None if its model was not tested.

    Raises:
        ArtifactError: the store does not answer.
    """
    with asked(root, f"the test rows of run {run_id!r} cannot be asked for") as client:
        return client.get_run(run_id).data.tags.get(TEST_ROWS)


def add_files(root: Path, run_id: str, folder: Path, place: str) -> None:
    """Log the contents of a folder to a folder of a run's artifacts.

    Raises:
        ArtifactError: the store does not answer.
    """
    with asked(root, f"nothing could be added to run {run_id!r}") as client:
        client.log_artifacts(run_id, str(folder), place)


def tag(root: Path, run_id: str, name: str, value: str) -> None:
    """Tag a run.

    Raises:
        ArtifactError: the store does not answer.
    """
    with asked(root, f"the run {run_id!r} cannot be tagged") as client:
        client.set_tag(run_id, name, value)


@contextmanager
def asked(root: Path, problem: str) -> "Iterator[mlflow.MlflowClient]":
    """Yield a client; turn MLflow's exceptions into an ArtifactError that starts with `problem`."""
    store.configure()
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    def named(error: Exception) -> ArtifactError:
        return ArtifactError(f"{problem} ({reason(error)}); `mlflow ui` lists the runs.")

    try:
        store.prepare(root)
    except ImagetrailError:
        raise
    except Exception as error:  # MLflow, Alembic and SQLAlchemy share no class for a store that cannot be opened
        raise named(error) from None
    try:
        yield mlflow.MlflowClient()
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise named(error) from None
