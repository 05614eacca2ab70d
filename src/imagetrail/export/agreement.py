"""Compare the answers of an exported file with the model's, on every test image."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagetrail.console import progress
from imagetrail.evaluate import paired
from imagetrail.evaluate.answers import Answers
from imagetrail.export import onnx_file
from imagetrail.files import artifacts
from imagetrail.files.arrays import Pixels, Subset
from imagetrail.model import devices, probabilities
from imagetrail.model.classifier import Classifier
from imagetrail.params.evaluate import Evaluate

TIMED = 15
"""Times that each of both is measured, in turn."""
MANY = 64
"""Images of the larger batch that is timed."""


@dataclass(frozen=True)
class Agreement:
    """How far a file's answers are those of the model."""

    n: int
    """Test images."""
    agreement: float
    """Share of them with the same label."""
    accuracy: tuple[float, float]
    """Of the model and of the file."""
    only_model: int
    """Images that only the model classifies correctly."""
    only_file: int
    p_value: float
    """McNemar's test of equal accuracy."""
    largest_difference: float
    """Of a probability."""
    bytes: tuple[int, int]
    """Of the model's weights and of the file."""
    milliseconds: tuple[float, float]
    """For one image: median of TIMED."""
    images_per_second: tuple[float, float]
    """In batches of MANY."""

    def table(self) -> list[tuple[str, ...]]:
        """Return (figure, of the model, of the file), with a header."""
        return [
            ("figure", "model", "file"),
            ("same label", "", f"{self.agreement:.4f} of {self.n} test images"),
            ("accuracy", *(f"{value:.4f}" for value in self.accuracy)),
            ("only this is right", str(self.only_model), f"{self.only_file} (McNemar, p = {self.p_value:.2g})"),
            ("largest difference of a probability", "", f"{self.largest_difference:.2g}"),
            ("bytes", *(f"{value:,}" for value in self.bytes)),
            ("milliseconds for one image", *(f"{value:.2f}" for value in self.milliseconds)),
            (f"images a second, {MANY} at once", *(f"{value:,.0f}" for value in self.images_per_second)),
        ]


def measure(root: Path, model: Classifier, file: Path, test: Subset, options: Evaluate) -> Agreement:
    """Answer every test image with both.

    Args:
        root: the repository's root, for the names of the images.
        model: on the CPU.
        file: the ONNX file.
        test: the test rows.
        options: section `evaluate`, for the batch size and the threads.
    """
    session = onnx_file.opened(file, options.threads)
    labels = test.labels[test.rows]
    both = [np.empty(len(test), np.int64) for _ in range(2)]
    sure, truth = ([np.empty(len(test)) for _ in range(2)] for _ in range(2))
    largest = 0.0
    starts = range(0, len(test), options.batch_size)
    with devices.repeatable(devices.CPU, options.threads):
        for start in progress(starts, total=len(starts), description="compare", unit="batch"):
            part = slice(start, start + options.batch_size)
            pixels = test.read(test.rows[part])
            (ours,) = probabilities.of_batches(model, [pixels], devices.CPU)
            theirs = onnx_file.probabilities(session, pixels)
            largest = max(largest, float(np.abs(ours - theirs).max()))
            for place, found in enumerate((ours, theirs)):
                both[place][part] = found.argmax(axis=1)
                sure[place][part] = found.max(axis=1)
                truth[place][part] = found[np.arange(len(found)), labels[part]]
        many = test.read(test.rows[np.resize(np.arange(len(test)), MANY)])
        one, batch = (_timed(model, session, images) for images in (many[:1], many))
    names = artifacts.image_names(root, test.rows)
    images = [names[row] for row in test.rows]
    first, second = (Answers(images, test.dataset.classes, labels, both[n], sure[n], truth[n]) for n in range(2))
    comparison = paired.compare([first], [second])
    return Agreement(
        n=len(test),
        agreement=float((both[0] == both[1]).mean()),
        accuracy=(float(first.correct.mean()), float(second.correct.mean())),
        only_model=comparison.only_first,
        only_file=comparison.only_second,
        p_value=comparison.p_value,
        largest_difference=largest,
        bytes=(sum(weight.nbytes for weight in model.state_dict().values()), file.stat().st_size),
        milliseconds=(1000 * one[0], 1000 * one[1]),
        images_per_second=(MANY / batch[0], MANY / batch[1]),
    )


def _timed(model: Classifier, session: Any, pixels: Pixels) -> tuple[float, float]:
    """Return the median seconds of the model and of the file for a batch, measured in turn."""
    tasks: list[Callable[[], object]] = [
        lambda: list(probabilities.of_batches(model, [pixels], devices.CPU)),
        lambda: onnx_file.probabilities(session, pixels),
    ]
    seconds: list[list[float]] = [[], []]
    for _ in range(TIMED):
        for place, task in enumerate(tasks):
            begin = time.perf_counter()
            task()
            seconds[place].append(time.perf_counter() - begin)
    first, second = map(statistics.median, seconds)
    return first, second
