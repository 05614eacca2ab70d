"""Write a model as ONNX, and answer with such a file under onnxruntime.

Input `images`: uint8 [N,C,H,W], decoded as `preprocess` does, with any N. Output `probabilities`: float32 [N,K].
"""

import io
import json
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from imagetrail.errors import TrainingError
from imagetrail.files.arrays import Pixels
from imagetrail.model.classifier import Classifier, ProbabilityModel
from imagetrail.model.probabilities import Probabilities

if TYPE_CHECKING:
    import onnxruntime

OPSET = 20
INPUT, OUTPUT = "images", "probabilities"


def write(model: Classifier, path: Path, about: Mapping[str, object]) -> None:
    """Write a model on the CPU.

    Args:
        model: in evaluation mode.
        path: of the file.
        about: values, as JSON, for the file's metadata.

    Raises:
        TrainingError: torch cannot express the network in ONNX.
    """
    module = ProbabilityModel(model).eval().to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, model.card.channels, *model.card.image_size, dtype=torch.uint8)  # of one, N would be fixed
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # of torch and onnxscript about their own insides
        try:
            program = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=({0: torch.export.Dim.AUTO},), input_names=[INPUT],
                output_names=[OUTPUT], opset_version=OPSET, verbose=False,
            )  # fmt: skip
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(f"{model.card.name} cannot be written as ONNX: {reason}") from None
    assert program is not None
    program.model.metadata_props.update({name: json.dumps(value) for name, value in about.items()})
    program.save(path)


def opened(path: Path, threads: int) -> "onnxruntime.InferenceSession":
    """Open a file for inference on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def probabilities(session: "onnxruntime.InferenceSession", pixels: Pixels) -> Probabilities:
    """Return probabilities, float64 [N,K], of uint8 [N,C,H,W]."""
    (found,) = session.run([OUTPUT], {INPUT: pixels})
    return np.asarray(found, np.float64)
