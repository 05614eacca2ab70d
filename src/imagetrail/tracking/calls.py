"""What is said of a run, as data: a call is made at once, or written down and made when the store answers again.

Making a call twice is like making it once, since a reply can be lost after the store has taken the call.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imagetrail.tracking.tags import FOLD, PARENT, SWEEP, TRIAL

if TYPE_CHECKING:
    import mlflow


class Call(NamedTuple):
    """One thing said of a run."""

    kind: str
    """A row of MAKERS."""
    values: Mapping[str, Any]
    """What JSON can hold."""
    files: tuple[Path, ...] = ()
    """Files and folders that belong to it."""


def make(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    """Make a call; whatever MLflow raises is raised."""
    MAKERS[call.kind](client, run_id, call)


def _params(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    """Parameters that the run already holds stay as they are: `mlflow run` logs -P values as typed."""
    from mlflow.entities import Param

    held = client.get_run(run_id).data.params
    client.log_batch(run_id, params=[Param(name, text) for name, text in call.values.items() if name not in held])


def _metrics(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    """Figures of one step; the store keeps one of several that are equal in name, step, time and value."""
    from mlflow.entities import Metric

    model_id = None
    if call.values["of_model"] and (outputs := client.get_run(run_id).outputs) and outputs.model_outputs:
        model_id = outputs.model_outputs[0].model_id
    step, time = call.values["step"], call.values["time"]
    metrics = [Metric(name, value, time, step, model_id=model_id) for name, value in call.values["figures"].items()]
    client.log_batch(run_id, metrics=metrics)


def _tags(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in call.values.items()])


def _text(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    client.log_text(run_id, call.values["text"], call.values["path"])


def _files(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    """Files, and what is in folders, below a folder of the run's artifacts."""
    for path in call.files:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), call.values["folder"] or None)
        else:
            client.log_artifact(run_id, str(path), call.values["folder"] or None)


def _dataset(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    import numpy as np
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    schema = Schema([TensorSpec(np.dtype("uint8"), (-1, *call.values["shape"]))])
    source = CodeDatasetSource(call.values["source"])
    described = MetaDataset(source, call.values["name"], call.values["digest"], schema)  # type: ignore[abstract]  # it is not
    fields = described.to_dict()
    dataset = Dataset(**{name: fields[name] for name in ("name", "digest", "source_type", "source", "schema")})
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])


def _model(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    from imagetrail.tracking import logged_model

    logged_model.log(client, run_id, call.files[0], call.files[1], call.values["device"])


def _models_of(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    """Give the run the models of another, where it has none of its own."""
    held, source = client.get_run(run_id).outputs, client.get_run(call.values["run"]).outputs
    if source and source.model_outputs and not (held and held.model_outputs):
        client.log_outputs(run_id, source.model_outputs)


def _register(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    """Make the run's model a version of a registered model, once, and give it the alias."""
    from mlflow.exceptions import MlflowException

    name = call.values["name"]
    outputs = client.get_run(run_id).outputs
    if not outputs or not outputs.model_outputs:
        return  # the model was refused, which has been said
    model_id = outputs.model_outputs[0].model_id
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = (
        versions[0] if versions else client.create_model_version(name, f"models:/{model_id}", run_id, model_id=model_id)
    )
    client.set_registered_model_alias(name, call.values["alias"], version.version)


def _family(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    """Put the parts of a sweep under its run, where the store had no id to give when they began."""
    experiment = client.get_run(run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`{SWEEP}` = '{call.values['sweep']}'")
    parents = [run for run in runs if not {TRIAL, FOLD} & run.data.tags.keys()]
    for part in runs if parents else ():
        if part not in parents and PARENT not in part.data.tags:
            client.set_tag(part.info.run_id, PARENT, parents[-1].info.run_id)  # the oldest


def _end(client: "mlflow.MlflowClient", run_id: str, call: Call) -> None:
    client.set_terminated(run_id, call.values["status"], call.values["time"])


MAKERS: Mapping[str, Callable[["mlflow.MlflowClient", str, Call], None]] = {
    "params": _params,
    "metrics": _metrics,
    "tags": _tags,
    "text": _text,
    "files": _files,
    "dataset": _dataset,
    "model": _model,
    "models_of": _models_of,
    "register": _register,
    "family": _family,
    "end": _end,
}
