"""`imagetrail export`: write a run's model in another format, compare it with the model, and log both to the run."""

import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from imagetrail.console import announce
from imagetrail.errors import ArtifactError, GateError, ParamsError
from imagetrail.export import agreement, int8, onnx_file
from imagetrail.export.agreement import Agreement
from imagetrail.files import arrays, artifacts
from imagetrail.model import classifier
from imagetrail.params.load import load_params
from imagetrail.tracking import contents, logged_model, registry

Format = Literal["onnx", "onnx-int8"]


class Exported(NamedTuple):
    """What was logged."""

    agreement: Agreement
    run_id: str
    place: str
    """The folder in the run's artifacts."""


def export(root: Path, reference: str, form: Format) -> Exported:
    """Write a run's model in a format, answer every test image with the file, and log it with the comparison.

    Args:
        root: the repository's root, whose test rows are those of the run.
        reference: a run as `registry.find` takes it, or a models:/ URI.
        form: of the file.

    Raises:
        ParamsError: the libraries of the format are not installed.
        ArtifactError: there is no such run, or the test rows here are others than the run's.
        TrainingError: the network cannot be expressed in the format.
        GateError: the file agrees with the model on fewer test images than export.agreement asks; nothing is logged.
    """
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise ParamsError(f"--to {form} needs {missing[0]}; run `pip install onnx onnxscript onnxruntime`.")
    params = load_params(root)
    with logged_model.fetched(root, reference) as (folder, run_id), tempfile.TemporaryDirectory() as name:
        rows = contents.test_rows(root)
        if (theirs := registry.test_rows(root, run_id)) != rows:
            raise ArtifactError(
                f"the test rows here ({rows}) are not those of run {run_id} ({theirs}); check out the run's commit and "
                "run `dvc checkout`, or `imagetrail reproduce` it."
            )
        model = classifier.load(folder)
        card = model.card
        about = {
            "run_id": run_id, "model_sha256": card.sha256, "classes": card.classes, "channels": card.channels,
            "image_size": card.image_size, "short_side": card.short_side, "value_range": card.value_range,
        }  # fmt: skip
        place = Path(name) / form
        place.mkdir()
        plain = (place if form == "onnx" else Path(name)) / "model.onnx"
        announce(f"writing {card.name} as {form}")
        onnx_file.write(model, plain, about)
        if form == "onnx-int8":
            int8.write(plain, place / "model.onnx", arrays.open_subset(root, "train"))
        found = agreement.measure(root, model, place / "model.onnx", arrays.open_subset(root, "test"), params.evaluate)
        if found.agreement < params.export.agreement:
            raise GateError(
                f"the {form} file has the model's label for {found.agreement:.4f} of {found.n} test images, and "
                f"export.agreement = {params.export.agreement:g}; nothing was logged. Lower it if that is enough."
            )
        artifacts.write_json(place / "agreement.json", asdict(found))
        artifacts.write_rows(place / "agreement.csv", found.table()[0], found.table()[1:])
        registry.add_files(root, run_id, place, f"export/{form}")
        return Exported(found, run_id, f"export/{form}")
