"""One training of a sweep, with its own run and outputs apart from the workspace's.

`python -m imagetrail.sweeps.trial 2/3` trains only the second of three folds of params.yaml.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from imagetrail.errors import guard
from imagetrail.files import arrays, artifacts
from imagetrail.files.arrays import Rows, Subset
from imagetrail.model import arithmetic
from imagetrail.model.classifier import Classifier
from imagetrail.params.load import Params, load_params
from imagetrail.sweeps import folds, held_out
from imagetrail.sweeps.folds import Fold
from imagetrail.tracking.stages import TrainingRun, child_run
from imagetrail.tracking.tags import FOLD, REPLICATE
from imagetrail.train import checkpoints, loop, normalisation
from imagetrail.train.loop import Epoch, Trained

OnTrialEpoch = Callable[[Epoch, str | None], None]
"""Called after every epoch, with the run's id if there is one; raises Stopped to end the training."""


def train(
    root: Path, params: Params, rows: tuple[Subset, Subset], name: str, tags: dict[str, str], on_epoch: OnTrialEpoch,
    test: Callable[[TrainingRun, Path, Classifier], None] | None = None,
) -> Trained:  # fmt: skip
    """Train as the stage `train` does, on tensors that are there.

    Args:
        root: the repository's root.
        params: of this training.
        rows: train and validation.
        name: of the run.
        tags: of the run.
        on_epoch: see OnTrialEpoch.
        test: called at the end with the run, the folder of the outputs and the model, to test it and log the answers;
            None leaves it untested.

    Raises:
        ImagetrailError: as stage `train`.
        Stopped: `on_epoch` raised it.
    """
    subset, val = rows
    weights = artifacts.read_weights(root)
    card = normalisation.new_card(params.model, weights, params.train.normalisation, subset)
    resumable = checkpoints.of_training(root, card, subset, val, params.train)
    start = None if weights is None else weights.path(root, params.download.weights)
    task = loop.Task(card, start, subset, val, root)
    with _outputs(root) as outputs, child_run(root, outputs, params, subset, name, tags) as run:

        def report(epoch: Epoch, images_per_second: float | None) -> None:
            run.log_epoch(epoch, images_per_second)
            on_epoch(epoch, run.id)

        trained = loop.fit(task, params.train, resumable, report)
        trained.save(outputs)
        resumable.clear()
        run.finish(trained)
        if test is not None:
            test(run, outputs, trained.classifier)
        return trained


def train_fold(root: Path, params: Params, fold: Fold, tags: dict[str, str], on_epoch: OnTrialEpoch) -> Trained:
    """Run one training of cross-validation, and log its answers for the rows held out; arguments as for `train`."""
    rows = folds.subsets(root, fold.index, fold.of, params.split)

    def answer(run: TrainingRun, outputs: Path, model: Classifier) -> None:
        held_out.write(root, outputs / held_out.HELD_OUT, model, rows[1], params.evaluate)
        run.log_files(held_out.HELD_OUT, [outputs / held_out.HELD_OUT])

    name = f"fold {fold.index + 1} of {fold.of}"
    return train(root, params, rows, name, tags | {FOLD: str(fold)}, on_epoch, answer)


def train_replicate(root: Path, params: Params, number: int, tags: dict[str, str], on_epoch: OnTrialEpoch) -> float:
    """Run one training of several that differ in their seed, and return its test accuracy; arguments as for `train`."""
    from imagetrail.evaluate import evaluation  # imports matplotlib, which searches do without

    train_rows, val, subset = (arrays.open_subset(root, name) for name in get_args(Rows))
    figures: dict[str, object] = {}

    def test(run: TrainingRun, outputs: Path, model: Classifier) -> None:
        figures.update(evaluation.write(root, outputs, model, subset, params.evaluate))
        run.log_test()

    name = f"seed {params.train.seed}"
    train(root, params, (train_rows, val), name, tags | {REPLICATE: str(number)}, on_epoch, test)
    return float(str(figures["accuracy"]))


@contextmanager
def _outputs(root: Path) -> Iterator[Path]:
    """Yield a temporary folder that looks like a repository after `split`; it links to the repository's pixels."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").symlink_to((root / "data").resolve())
        (folder / artifacts.PLOTS).mkdir()
        for name in artifacts.DATA_PICTURES:
            (folder / artifacts.PLOTS / name).symlink_to((root / artifacts.PLOTS / name).resolve())
        yield folder


def main() -> None:
    """Run the process."""
    train_fold(Path(), load_params(Path()), Fold.read(sys.argv[1]), {}, lambda epoch, run_id: None)


if __name__ == "__main__":
    guard(lambda: arithmetic.run(main, load_params(Path()).train.arithmetic))
