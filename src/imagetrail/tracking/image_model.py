"""The model that MLflow loads: encoded images in, labels and probabilities out.

A logged model carries this file and all that it imports, so it needs neither this package nor the checkout. It decodes
with preprocess's own code, and computes on a GPU where there is one.
"""

import base64
import binascii
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import Schema
from mlflow.types.schema import ColSpec, DataType, Map

import imagetrail
from imagetrail.errors import DataError, quoted
from imagetrail.files.arrays import Pixels
from imagetrail.model import classifier, devices
from imagetrail.predict.classify import Image, Prediction, classify

IMAGE_COLUMN = "image"
ANSWER = Schema(
    [ColSpec(DataType.string, "label"), ColSpec(DataType.double, "confidence"),
     ColSpec(Map(DataType.double), "probabilities"), ColSpec(DataType.string, "error")]
)  # fmt: skip
"""The columns that `predict` returns."""


class ImageModel(PythonModel):
    """A classifier as MLflow's Python function."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the classifier; MLflow calls this once."""
        folder = Path(context.artifacts["model"])
        _compare_code(folder.parents[1] / "code" / "imagetrail")
        self.classifier = classifier.load(folder)

    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> pd.DataFrame:
        """Classify images.

        Args:
            context: of MLflow, unused.
            model_input: a table whose column `image`, or only column, holds encoded images: the bytes of a file, or
                base64 text. MLflow also passes on a list of such, and pixels, uint8 [N,C,H,W], of the size that the
                network takes.
            params: of MLflow, unused.

        Returns:
            A line for each image: label, confidence, probabilities by class, and error. An image that cannot be decoded
            has an error, an empty label and an empty mapping: on Spark, MLflow turns None into text.

        Raises:
            MlflowException: the input is none of these.
        """
        images = _cells(model_input)
        card = self.classifier.card
        shape = (card.channels, *card.image_size)
        problems: dict[int, str] = {}

        def readable() -> Iterator[tuple[str, Image]]:
            for number, cell in enumerate(images):
                try:
                    yield str(number), _image(cell, shape)
                except DataError as error:
                    problems[number] = str(error)

        found = iter(classify(self.classifier, readable(), devices.choose("auto")))
        given = {int(prediction.image): prediction for prediction in found}
        lines = (_line(given.get(number), problems.get(number)) for number in range(len(images)))
        return pd.DataFrame(lines, columns=ANSWER.input_names(), dtype=object)  # None stays None


def _compare_code(carried: Path) -> None:
    """Warn if this process runs other code than the model carries, as a notebook of a checkout may.

    Python keeps the package that it imported first, but MLflow has put the model's code first on the path, where
    processes that this one starts would find a part of a package. So it is taken off again.
    """
    running = Path(imagetrail.__file__).parent
    if running.resolve() == carried.resolve():
        return
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != carried.parent.resolve()]
    for file in sorted(carried.rglob("*.py")):
        other = running / file.relative_to(carried)
        if not other.is_file() or other.read_bytes() != file.read_bytes():
            warnings.warn(
                f"this process already runs another imagetrail, whose {file.relative_to(carried)} differs from the "
                "model's, so its answers may too; load the model in a process of its own.",
                stacklevel=2,
            )
            return


def _line(prediction: Prediction | None, problem: str | None) -> tuple[object, ...]:
    if prediction is None or prediction.probabilities is None:
        return "", None, {}, problem or (prediction.error if prediction else "missing")
    shares = dict(zip(prediction.classes, prediction.probabilities.tolist(), strict=True))
    return prediction.label, prediction.confidence, shares, ""


def _cells(given: Any) -> list[Any]:
    """Return the images of an input, one by one."""
    if isinstance(given, pd.DataFrame):
        if IMAGE_COLUMN not in given and len(given.columns) != 1:
            names = quoted(list(map(str, given.columns)))
            raise MlflowException.invalid_parameter_value(
                f"the columns are {names}; name that of images {IMAGE_COLUMN!r}."
            )
        return list(given[IMAGE_COLUMN if IMAGE_COLUMN in given else given.columns[0]])
    if isinstance(given, dict) and given.keys() == {IMAGE_COLUMN}:
        return _cells(given[IMAGE_COLUMN])
    if isinstance(given, np.ndarray) and given.dtype.kind == "S":
        raise MlflowException.invalid_parameter_value(
            "an array of byte strings drops zeros at their ends; give a list, or an array of objects."
        )
    if isinstance(given, np.ndarray) and given.ndim == 0:
        return [given.item()]
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return list(given)
    raise MlflowException.invalid_parameter_value(
        f"the input is a {type(given).__name__}; give a table with a column {IMAGE_COLUMN!r}, a list, or an array."
    )


def _image(cell: Any, shape: tuple[int, ...]) -> bytes | Pixels:
    """Return the bytes of an image file, or pixels of the model's shape, [C,H,W].

    Raises:
        DataError: the cell holds neither.
    """
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, str):
        try:
            return base64.b64decode("".join(cell.split()), validate=True)
        except (binascii.Error, ValueError):
            raise DataError("the text is not base64") from None
    if isinstance(cell, np.ndarray | list):
        return _pixels(cell, shape)
    raise DataError("missing" if cell is None or cell is pd.NA or cell != cell else f"a {type(cell).__name__}")


def _pixels(cell: Any, shape: tuple[int, ...]) -> Pixels:
    try:
        array = np.asarray(cell)
    except ValueError:  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "iu" or array.shape != shape or array.min() < 0 or array.max() > np.iinfo(np.uint8).max:
        raise DataError(f"not an image file, and not pixels of {list(shape)} from 0 to 255")
    return array.astype(np.uint8)
