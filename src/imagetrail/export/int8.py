"""Quantise an ONNX file to 8-bit integers: weights by channel, activations by the ranges that train rows give them.

Static post-training quantisation of onnxruntime (https://onnxruntime.ai/docs/performance/model-optimizations/
quantization.html); ranges from calibration data as in Jacob et al., CVPR, 2018.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagetrail.export.onnx_file import INPUT
from imagetrail.files.arrays import Pixels, Subset

CALIBRATED = 512
"""Train images that give the ranges, at equal distances."""
GIVEN_TOGETHER = 32


def write(source: Path, target: Path, train: Subset) -> None:
    """Quantise a file.

    Args:
        source: an ONNX file.
        target: the file to write; it keeps the metadata.
        train: the rows that calibrate.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static, shape_inference

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime's classes have no types
        def __init__(self) -> None:
            self._batches = _batches(train)

        def get_next(self) -> dict[str, Pixels] | None:
            return next(({INPUT: batch} for batch in self._batches), None)

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # onnxruntime recommends what has just been done
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            shape_inference.quant_pre_process(source, prepared)
            quantize_static(
                prepared, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
    finally:
        logger.setLevel(level)
    quantised = onnx.load(target)
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(onnx.load(source).metadata_props)
    onnx.save(quantised, target)


def _batches(train: Subset) -> Iterator[Pixels]:
    places = np.linspace(0, len(train) - 1, min(CALIBRATED, len(train))).round().astype(np.int64)
    for start in range(0, len(places), GIVEN_TOGETHER):
        yield train.read(train.rows[places[start : start + GIVEN_TOGETHER]])
