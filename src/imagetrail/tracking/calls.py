"""The calls that log a run, as values: made at once, or saved and made when the store answers again.

Making a call twice is like making it once, since a reply can be lost after the store has accepted the call.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import override

from imagetrail.tracking.tags import PARENT, PARTS, SWEEP

if TYPE_CHECKING:
    import mlflow


class _Call(BaseModel):
    """One thing logged of a run; pydantic checks its fields where it is built and where the outbox reads it back."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    files: tuple[Path, ...] = Field(default=(), exclude=True)
    """Files and folders that belong to the call; the outbox keeps copies of them."""

    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        """Make the call; raise whatever MLflow raises."""
        raise NotImplementedError


class LogParams(_Call):
    """Log parameters that the run does not have yet, since `mlflow run` logs -P values as typed."""

    kind: Literal["params"] = "params"
    params: dict[str, str]

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        from mlflow.entities import Param

        held = client.get_run(run_id).data.params
        client.log_batch(run_id, params=[Param(name, text) for name, text in self.params.items() if name not in held])


class LogMetrics(_Call):
    """Log the metrics of one step; the store keeps one copy of metrics with equal name, step, time and value."""

    kind: Literal["metrics"] = "metrics"
    metrics: dict[str, float]
    step: int
    time: int
    """Milliseconds of Unix time."""
    of_model: bool
    """Whether to link the metrics to the run's model."""

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        from mlflow.entities import Metric

        model_id = None
        if self.of_model and (outputs := client.get_run(run_id).outputs) and outputs.model_outputs:
            model_id = outputs.model_outputs[0].model_id
        metrics = [Metric(n, value, self.time, self.step, model_id=model_id) for n, value in self.metrics.items()]
        client.log_batch(run_id, metrics=metrics)


class SetTags(_Call):
    """Set tags."""

    kind: Literal["tags"] = "tags"
    tags: dict[str, str]

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        from mlflow.entities import RunTag

        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in self.tags.items()])


class LogText(_Call):
    """Log a text as an artifact."""

    kind: Literal["text"] = "text"
    path: str
    text: str

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        client.log_text(run_id, self.text, self.path)


class LogFiles(_Call):
    """Log files, and the contents of folders, to a folder of the run's artifacts."""

    kind: Literal["files"] = "files"
    folder: str
    """"" is the root."""

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        for path in self.files:
            if path.is_dir():
                client.log_artifacts(run_id, str(path), self.folder or None)
            else:
                client.log_artifact(run_id, str(path), self.folder or None)


class LogDataset(_Call):
    """Log the data set as an input of the run."""

    kind: Literal["dataset"] = "dataset"
    name: str
    digest: str
    shape: list[int]
    """[C, H, W] of an image."""
    source: dict[str, str]

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        import numpy as np
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.types import Schema, TensorSpec
        from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

        schema = Schema([TensorSpec(np.dtype("uint8"), (-1, *self.shape))])
        source = CodeDatasetSource(self.source)
        described = MetaDataset(source, self.name, self.digest, schema)  # type: ignore[abstract]  # it is not
        fields = described.to_dict()
        dataset = Dataset(**{name: fields[name] for name in ("name", "digest", "source_type", "source", "schema")})
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])


class LogModel(_Call):
    """Log the model; `files` are the folder models/ and an image file, see logged_model.log."""

    kind: Literal["model"] = "model"

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        from imagetrail.tracking import logged_model

        folder, example = self.files
        logged_model.log(client, run_id, folder, example)


class CopyModels(_Call):
    """Link the models of another run, if the run has none."""

    kind: Literal["models of"] = "models of"
    source_run_id: str

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        held, source = client.get_run(run_id).outputs, client.get_run(self.source_run_id).outputs
        if source and source.model_outputs and not (held and held.model_outputs):
            client.log_outputs(run_id, source.model_outputs)


class Register(_Call):
    """Register the run's model as a version, once, and set the alias."""

    kind: Literal["registration"] = "registration"
    name: str
    alias: str

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        from mlflow.exceptions import MlflowException

        outputs = client.get_run(run_id).outputs
        if not outputs or not outputs.model_outputs:
            return  # MLflow refused the model, with a warning
        model_id = outputs.model_outputs[0].model_id
        try:
            client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
        version = (
            versions[0]
            if versions
            else client.create_model_version(self.name, f"models:/{model_id}", run_id, model_id=model_id)
        )
        client.set_registered_model_alias(self.name, self.alias, version.version)


class LinkParts(_Call):
    """Link the parts of a sweep to its run, if the store had not given it an id when they started."""

    kind: Literal["parent"] = "parent"
    sweep: str

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        experiment = client.get_run(run_id).info.experiment_id
        runs = client.search_runs([experiment], f"tags.`{SWEEP}` = '{self.sweep}'")
        parents = [run for run in runs if not PARTS & run.data.tags.keys()]
        for part in runs if parents else ():
            if part not in parents and PARENT not in part.data.tags:
                client.set_tag(part.info.run_id, PARENT, parents[-1].info.run_id)  # the oldest


class End(_Call):
    """End the run."""

    kind: Literal["end"] = "end"
    status: Literal["FINISHED", "FAILED", "KILLED"]
    time: int
    """Milliseconds of Unix time."""

    @override
    def make(self, client: "mlflow.MlflowClient", run_id: str) -> None:
        client.set_terminated(run_id, self.status, self.time)


Call = (
    LogParams
    | LogMetrics
    | SetTags
    | LogText
    | LogFiles
    | LogDataset
    | LogModel
    | CopyModels
    | Register
    | LinkParts
    | End
)
CALLS: TypeAdapter[Call] = TypeAdapter(Annotated[Call, Field(discriminator="kind")])
"""Reads a call back from JSON."""
