"""Read a run back from the store: everything needed to repeat it and to compare the two."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagetrail.errors import ReproductionError
from imagetrail.tracking import registry, store
from imagetrail.tracking.tags import PARENT

if TYPE_CHECKING:
    import mlflow

FILES = ("params.yaml", "git", "environment", "data/dataset.json", "sweep/request.json")
"""Artifacts that are read."""
NO_PACKAGES = ("imagetrail", "pip")
"""The project itself is code, not environment, and pip only installs the others."""
OF_THE_MACHINE = ("system/", "speed/")
"""Metrics that differ in every repetition."""


@dataclass(frozen=True)
class Record:
    """A run as the store holds it."""

    id: str
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    """Logged parameters, in MLflow's text form."""
    figures: Mapping[str, Mapping[int, float]]
    """Every metric's value at each step, except those of the machine."""
    digest: str | None
    """First 8 digits of the data set's sha256; None if the run is not a training."""
    files: Path
    """Folder with those of FILES that the run has."""

    def json(self, name: str) -> dict[str, Any]:
        """Read one of its JSON files.

        Raises:
            ReproductionError: the run does not hold it, or it is damaged.
        """
        try:
            values: dict[str, Any] = json.loads((self.files / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ReproductionError(
                f"the run {self.id} holds no {name}, or a damaged one; it cannot be repeated."
            ) from None
        return values

    @property
    def packages(self) -> dict[str, str]:
        """Return the version of every installed package, except NO_PACKAGES.

        Raises:
            ReproductionError: the run does not hold them.
        """
        path = self.files / "environment/requirements.txt"
        if not path.is_file():
            raise ReproductionError(f"the run {self.id} holds no environment/requirements.txt; it cannot be repeated.")
        lines = (line.partition("==") for line in path.read_text(encoding="utf-8").split())
        return {name: version for name, _, version in lines if name not in NO_PACKAGES}


def read(root: Path, reference: str, folder: Path) -> Record:
    """Read the record of a run from this checkout's store.

    Args:
        root: the checkout.
        reference: as registry.find takes it.
        folder: where its files go.

    Raises:
        ArtifactError: the store has no such run, or does not answer.
    """
    found = registry.find(root, reference)
    with registry.asked(root, f"the run {found.info.run_id} cannot be read") as client:
        return _record(client, found, folder)


def only_run(root: Path, folder: Path) -> Record:
    """Read the record of the only run, its parts aside, from a checkout's own store, ignoring MLFLOW_TRACKING_URI.

    Raises:
        ReproductionError: MLflow failed there, so there is no run.
    """
    store.configure()
    import mlflow

    client = mlflow.MlflowClient(store.local(root))
    runs = [run for run in client.search_runs(["0"]) if PARENT not in run.data.tags]
    if len(runs) != 1:
        raise ReproductionError(f"the repetition left {len(runs)} runs in {root / store.DATABASE} instead of one.")
    return _record(client, runs[0], folder)


def _record(client: "mlflow.MlflowClient", run: "mlflow.entities.Run", folder: Path) -> Record:
    for name in FILES:
        parent = name.rpartition("/")[0]
        (folder / parent).mkdir(parents=True, exist_ok=True)
        if name in {file.path for file in client.list_artifacts(run.info.run_id, parent or None)}:
            client.download_artifacts(run.info.run_id, name, str(folder / parent))
    names = [name for name in run.data.metrics if not name.startswith(OF_THE_MACHINE)]
    figures = {
        name: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        for name in names
    }
    inputs = run.inputs.dataset_inputs if run.inputs else []
    digest = inputs[0].dataset.digest if inputs else None
    return Record(run.info.run_id, run.info.run_name or "", run.data.tags, run.data.params, figures, digest, folder)
