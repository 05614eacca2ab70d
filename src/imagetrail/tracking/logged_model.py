"""The model in MLflow: weights, card and the code that answers with them; and its weights back, without that code."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagetrail
from imagetrail.compare.runs import LoggedRun
from imagetrail.console import warn
from imagetrail.errors import ArtifactError
from imagetrail.files import artifacts
from imagetrail.model import classifier
from imagetrail.model.classifier import Card, Classifier
from imagetrail.tracking import registry

if TYPE_CHECKING:
    import mlflow

MODEL = "model"
FILES_OF_TRAIN = Path("artifacts") / artifacts.MODELS
"""Folder of the model's files, as `train` wrote them, in its artifacts."""
CARRIED = (
    "__init__.py", "errors.py", "files", "model", "predict/__init__.py",
    "predict/classify.py", "preprocess/__init__.py", "preprocess/decode.py", "preprocess/formats.py",
    "tracking/__init__.py", "tracking/image_model.py",
)  # fmt: skip
"""Files and folders of this package that answer in a logged model."""
REQUIRED = (
    "mlflow", "numpy", "pandas", "pillow", "psutil", "pydantic", "safetensors", "simplejpeg", "torch", "torchvision",
    "pillow-heif",
)  # fmt: skip
"""Distributions that the code imports; those that are not installed, extras, are left out."""
LOADER = """from mlflow.models import set_model

from imagetrail.tracking.image_model import ImageModel

set_model(ImageModel())
"""
"""The code that MLflow runs to load the model."""


def log(client: "mlflow.MlflowClient", run_id: str, folder: Path, example: Path) -> None:
    """Log the classifier of a run with its code, an input example and pinned requirements; once, even if called again.

    Args:
        client: of the store.
        run_id: the run.
        folder: models/, or a copy of it.
        example: an image file.
    """
    held = client.get_run(run_id).outputs
    logged = [client.get_logged_model(output.model_id) for output in (held.model_outputs if held else ())]
    if any(model.status == "READY" and model.name == MODEL for model in logged):
        return
    import mlflow.pyfunc
    from mlflow.models import Model

    with parts(folder, example) as given:
        Model.log(artifact_path=None, name=MODEL, flavor=mlflow.pyfunc, run_id=run_id, **given)


@contextmanager
def parts(folder: Path, example: Path) -> Iterator[dict[str, Any]]:
    """Yield the arguments of mlflow.pyfunc.save_model for a classifier; arguments as for `log`."""
    import pandas as pd
    from mlflow.models import ModelSignature

    from imagetrail.tracking.image_model import ANSWER, IMAGE_COLUMN

    with tempfile.TemporaryDirectory() as name:
        script, code = Path(name) / "image_classifier.py", Path(name) / "imagetrail"
        script.write_text(LOADER, encoding="utf-8")
        _copy_code(code)
        yield {
            "python_model": str(script),
            "artifacts": {MODEL: folder.resolve().as_uri()},  # a path may hold what means something in a URI
            "code_paths": [str(code)],
            # Without a schema of the inputs, which would admit either files or arrays.
            "signature": ModelSignature(outputs=ANSWER),
            "input_example": pd.DataFrame({IMAGE_COLUMN: [example.read_bytes()]}),
            "pip_requirements": _requirements(classifier.read_card(folder)),
            "metadata": dataclasses.asdict(classifier.read_card(folder)),
        }


def _copy_code(target: Path) -> None:
    source = Path(imagetrail.__file__).parent
    for name in CARRIED:
        for file in sorted((source / name).rglob("*.py")) if (source / name).is_dir() else [source / name]:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())


def _requirements(card: Card) -> list[str]:
    found = []
    for library in (*REQUIRED, "timm") if card.name.startswith(artifacts.TIMM) else REQUIRED:
        try:
            found.append(f"{library}=={version(library).partition('+')[0]}")
        except PackageNotFoundError:
            continue
    return found


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
        reference: a run as `registry.find` takes it, or a URI that MLflow knows: `models:/NAME@champion`,
            `models:/m-…`, `runs:/ID/model`.

    Raises:
        ArtifactError: MLflow has no such model, imagetrail did not log it, or its weights do not match its card.
    """
    with fetched(root, reference) as (folder, _):
        return classifier.load(folder)


@contextmanager
def fetched(root: Path, reference: str) -> Iterator[tuple[Path, str]]:
    """Download the model of a run; yield its folder, see classifier.load, and the run's id.

    Arguments and errors are those of `load`, and errors in the block about the folder's files name the model.
    """
    uri = reference if ":/" in reference else f"runs:/{registry.find(root, reference).info.run_id}/{MODEL}"
    with tempfile.TemporaryDirectory() as name:
        with registry.asked(root, f"MLflow has no model {uri!r}"):
            import mlflow

            run_id = str(mlflow.models.get_model_info(uri).run_id)
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=name)) / FILES_OF_TRAIN
        if not all((folder / file).is_file() for file in (classifier.WEIGHTS_FILE, classifier.CARD_FILE)):
            raise ArtifactError(f"the model {uri!r} was not logged by this imagetrail; train it again.")
        try:
            yield folder, run_id
        except ArtifactError as error:
            if str(folder) not in str(error):
                raise
            reason = str(error).replace(f"{folder}/", "").partition("; restore")[0].rstrip(".")
            raise ArtifactError(f"the model {uri!r} cannot be used: {reason}; train it again.") from None
