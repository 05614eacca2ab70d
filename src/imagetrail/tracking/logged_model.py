"""The model in MLflow: a torch.export program that loads without this package and without unpickling.

`model` lives on the CPU. A training on CUDA also logs `model-cuda`, exported there, since an exported program cannot
change its device.
"""

import dataclasses
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from imagetrail.compare.runs import LoggedRun
from imagetrail.console import warn
from imagetrail.errors import ArtifactError
from imagetrail.model import classifier, exported
from imagetrail.model.classifier import Card, Classifier
from imagetrail.tracking import registry

if TYPE_CHECKING:
    import mlflow

PORTABLE, ON_CUDA = "model", "model-cuda"


class _ExportedOn:
    """An MLflow flavor: writes a model's folder. MLflow exports on the CPU, this one on any device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def save_model(self, classifier: Classifier, path: str, input_example: Any, **kwargs: Any) -> None:
        """Write MLflow's pt2 folder for the CPU, then the program for another device in its place."""
        import mlflow.pytorch

        module = exported.exportable(classifier).cpu()
        mlflow.pytorch.save_model(module, path, input_example=input_example, serialization_format="pt2", **kwargs)
        if self._device.type != "cpu":
            (file,) = Path(path).rglob("*.pt2")
            exported.write(classifier, file, input_example, self._device)


def log(client: "mlflow.MlflowClient", run_id: str, folder: Path, example: Path, device: str) -> None:
    """Log the classifier of a run with signature, input example and pinned requirements; once, even if called again.

    Args:
        client: of the store.
        run_id: the run.
        folder: models/, or a copy of it.
        example: .npy file, uint8 [2,C,H,W]; with one image the number of images would be fixed in the program.
        device: type of the device it was trained on; cuda adds `model-cuda`, if CUDA is available.
    """
    held = client.get_run(run_id).outputs
    logged = [client.get_logged_model(output.model_id) for output in (held.model_outputs if held else ())]
    names = {model.name for model in logged if model.status == "READY"}
    targets = {PORTABLE: torch.device("cpu")}
    if device == "cuda":
        if torch.cuda.is_available():
            targets[ON_CUDA] = torch.device("cuda")
        else:
            warn(f"run {run_id} gets no {ON_CUDA}: it was trained on CUDA and is sent by a machine without.")
    for name, target in targets.items():
        if name not in names:
            _log(run_id, classifier.load(folder), np.load(example), name, target)


def _log(run_id: str, model: Classifier, example: np.ndarray, name: str, device: torch.device) -> None:
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    card = model.card
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, card.channels, *card.image_size))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(card.classes)))]),
    )
    Model.log(
        artifact_path=None,
        name=name,
        flavor=_ExportedOn(device),
        run_id=run_id,
        classifier=model,
        signature=signature,
        input_example=example,
        pip_requirements=[f"{library}=={version(library).split('+')[0]}" for library in ("mlflow", "torch", "numpy")],
        metadata=dataclasses.asdict(card),
    )


def of_run(root: Path, run: LoggedRun) -> Classifier | None:
    """Load the model of a run; None if it is a run of replicates, and with a warning if it cannot be read."""
    if len(run.answers) > 1:
        return None
    try:
        return load(root, run.id)
    except ArtifactError as error:
        warn(f"{run.name} is compared without heatmaps: {error}")
        return None


def load(root: Path, reference: str) -> Classifier:
    """Load the model of a run, on the CPU, without importing or running anything from the store.

    Args:
        root: the repository's root, for the default store.
        reference: a run's id, or a URI that MLflow knows: `models:/NAME@champion`, `models:/m-…`, `runs:/ID/model`.

    Raises:
        ArtifactError: MLflow has no such model, imagetrail did not log it, or its weights do not match its card.
    """
    uri = reference if ":/" in reference else f"runs:/{reference}/{PORTABLE}"
    with registry.asked(root, f"MLflow has no model {uri!r}"), tempfile.TemporaryDirectory() as name:
        import mlflow

        metadata = mlflow.models.get_model_info(uri).metadata or {}
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=name))
        programs = sorted(folder.rglob("*.pt2"))
        needed = {field.name for field in dataclasses.fields(Card) if field.default is dataclasses.MISSING}
        fields = sorted(needed - metadata.keys())
        if len(programs) != 1 or fields:
            lacks = f"its metadata lacks {fields[0]!r}" if fields else f"it holds {len(programs)} .pt2 files"
            raise ArtifactError(f"the model {uri!r} was not logged by this imagetrail ({lacks}); train it again.")
        weights = exported.read_weights(programs[0])
    try:
        known = {field.name for field in dataclasses.fields(Card)}
        card = Card.of(json.dumps({name: value for name, value in metadata.items() if name in known}))
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"the model {uri!r} has a damaged card ({error}); train it again.") from None
    return classifier.of_weights(card, {name.removeprefix("classifier."): tensor for name, tensor in weights.items()})
