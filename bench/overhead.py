"""What imagetrail adds to the computation itself: features, evaluation, prediction of files, and tracking."""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch

from bench import made_up
from bench.clone import fresh, run
from bench.table import Row, interleaved, spread
from imagetrail.evaluate import inference
from imagetrail.files.arrays import Subset
from imagetrail.model import devices
from imagetrail.model.classifier import Classifier
from imagetrail.params import overrides, recipes
from imagetrail.params.train import Train
from imagetrail.predict import classify
from imagetrail.preprocess import decode
from imagetrail.train import features, loop
from imagetrail.train.checkpoints import Checkpoints

ROUNDS, THREADS, CPU = 3, 2, torch.device("cpu")
FROZEN, PHOTOGRAPHS, DIGITS, EPOCHS = "cats-dogs-resnet50", 96, 6_144, 10
PREDICTED = {
    "cats-dogs-resnet50": (3, 224, 96, (224, 224)), "cifar10-cnn": (3, 32, 600, (640, 480)),
    "mnist-cnn": (1, 28, 6_000, (28, 28)), "mnist-tiny": (1, 28, 6_000, (28, 28)),
}  # fmt: skip
"""By recipe: channels and side of what the network sees, number of files, their width and height."""
BARE, CACHED, TRACKED = 0.9, 10.0, 1.02


def measure() -> list[Row]:
    """Time each part and the bare computation in turn."""
    return [*_frozen(), *_answers(), *_tracking()]


def _frozen() -> Iterator[Row]:
    """Compare the features of a frozen backbone with its forward pass, and trainings on them with those through it."""
    pixels, labels = made_up.images(PHOTOGRAPHS, 3, 224)
    task, options = made_up.training(FROZEN, pixels, labels, epochs=EPOCHS, batch_size=32, threads=THREADS)
    model = Classifier(task.card)
    with tempfile.TemporaryDirectory() as name:
        numbers = count()  # of folders, since features that are there are not computed
        compute = partial(_features, model, task.train)
        seconds = interleaved(
            {
                "ours": lambda: compute(Path(name) / str(next(numbers))),
                "bare": lambda: _forward(model, pixels, features.FEATURE_BLOCK),
            },
            ROUNDS,
        )
        yield _against_bare("features of a frozen ResNet-50", seconds)
        train_head = partial(_fit, replace(task, root=Path(name)), options)
        train_head()
        kept = statistics.median(interleaved({"kept": train_head}, ROUNDS)["kept"])
    through = statistics.median(seconds["bare"]) * EPOCHS  # the head's part is small
    yield Row(
        f"{EPOCHS} epochs of its head on kept features against {EPOCHS} forward passes",
        f"{kept:.2f} s, {through:.1f} s: {through / kept:.0f} times", f"{CACHED:g} times", through / kept >= CACHED,
    )  # fmt: skip


def _features(model: Classifier, train: Subset, folder: Path) -> None:
    with devices.repeatable(CPU, THREADS):
        features.of_backbone(folder, model, [train])


def _fit(task: loop.Task, options: Train) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loop.fit(task, options, Checkpoints(Path(folder)), lambda epoch, speed: None)


@torch.inference_mode()
def _forward(model: Classifier, pixels: np.ndarray, batch: int) -> None:
    """Run the bare forward pass."""
    model.eval()
    with devices.repeatable(CPU, THREADS):
        for images in torch.from_numpy(pixels).split(batch):
            model.network(model.normalise(images))


def _answers() -> Iterator[Row]:
    """Compare the evaluation of digits, and the prediction of photographs in files, with the forward pass."""
    pixels, labels = made_up.images(DIGITS, 1, 28)
    task, _ = made_up.training("mnist-cnn", pixels, labels)
    options = recipes.params(made_up.ROOT, "mnist-cnn").evaluate.model_copy(update={"threads": THREADS})
    small = Classifier(task.card).eval()
    evaluated = partial(inference.predict, small, task.train, options, lambda batch: None)
    forward = partial(_forward, small, pixels, options.batch_size)
    yield _against_bare("evaluation of mnist-cnn", interleaved({"ours": evaluated, "bare": forward}, ROUNDS))

    for recipe, (channels, side, number_of_files, size) in PREDICTED.items():
        model = Classifier(made_up.training(recipe, *made_up.images(8, channels, side))[0].card).eval()
        with tempfile.TemporaryDirectory() as folder, devices.repeatable(CPU, THREADS):
            paths = [Path(folder) / str(number) for number in range(number_of_files)]
            for number, path in enumerate(paths):
                path.write_bytes(made_up.file(number, channels, size))
            files = [(path.name, path) for path in paths]
            seconds = interleaved(
                {
                    "ours": partial(_classify, model, files),
                    "bare": partial(decode_and_forward, model, paths),
                },
                ROUNDS,
            )
        yield _against_bare(f"prediction of {number_of_files} files of {size[0]} x {size[1]} by {recipe}", seconds)


def _classify(model: Classifier, files: list[tuple[str, classify.Image]]) -> None:
    for _ in classify.classify(model, files, CPU):
        pass


def decode_and_forward(model: Classifier, paths: list[Path]) -> None:
    """Decode on every core, and then run the bare forward pass."""
    with ThreadPoolExecutor(THREADS) as pool:
        pixels = list(pool.map(lambda path: decode.decode(path.read_bytes(), model.card.form).pixels, paths))
    _forward(model, np.stack(pixels), classify.CLASSIFIED_AT_ONCE)


def _tracking() -> Iterator[Row]:
    """Compare the stage `train`, which tracks, with its loop alone, as whole processes of a minute."""
    with fresh() as clone:
        overrides.apply(clone, ("train.arithmetic=native", "train.epochs=170"))
        run(clone, "dvc", "repro", "split")
        run(clone, sys.executable, "-m", "stages.train")  # makes the store
        seconds = interleaved(
            {
                "tracked": lambda: run(clone, sys.executable, "-m", "stages.train"),
                "bare": lambda: run(clone, sys.executable, "-c", LOOP),
            },
            ROUNDS,
        )
    ratio = statistics.median(seconds["tracked"]) / statistics.median(seconds["bare"])
    measured = f"{spread(seconds['tracked'])}, without tracking {spread(seconds['bare'])}: {ratio:.3f} times"
    yield Row("a tracked training of a minute", measured, f"{TRACKED:g} times", ratio <= TRACKED)


LOOP = """
from contextlib import contextmanager
from pathlib import Path
from imagetrail.tracking import stages as tracking
from stages import train

@contextmanager
def untracked(*arguments, **options):
    yield tracking.NoRun()

tracking.training_run = untracked
train.main(Path())
"""


def _against_bare(what: str, seconds: dict[str, list[float]]) -> Row:
    ratio = statistics.median(seconds["bare"]) / statistics.median(seconds["ours"])
    measured = f"{spread(seconds['ours'])}, the bare forward pass {spread(seconds['bare'])}: {ratio:.2f} of its speed"
    return Row(what, measured, f"{BARE:g}", ratio >= BARE)
