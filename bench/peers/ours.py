"""imagetrail's loop with the recipe's parameters, without validation rows, from its first batch to its checkpoint."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import work

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from imagetrail.files.arrays import Subset  # noqa: E402
from imagetrail.files.artifacts import Dataset  # noqa: E402
from imagetrail.params import recipes  # noqa: E402
from imagetrail.params.load import parse_params  # noqa: E402
from imagetrail.params.train import Train  # noqa: E402
from imagetrail.train import loop, normalisation  # noqa: E402
from imagetrail.train.checkpoints import Checkpoints  # noqa: E402


def task(recipe: str) -> tuple[loop.Task, Train]:
    """Build the recipe's training on the made-up images."""
    params = parse_params(recipes.loaded(recipes.render(ROOT, recipe)), recipe)
    images, labels = work.images(recipe)
    shape = [len(images), 1, work.SIDE, work.SIDE]
    dataset = Dataset("made-up", [str(n) for n in range(work.CLASSES)], {}, shape, None, 0, {}, {}, "", {})
    train = Subset(dataset, images[:, None], labels, np.arange(len(images)))
    card = normalisation.new_card(params.model, None, params.train.normalisation, train)
    update = {"epochs": 2, "schedule": None, "keep": "last", "threads": work.THREADS, "patience": None}
    options = params.train.model_copy(update=update)
    return loop.Task(card, None, train, replace(train, rows=train.rows[:0]), ROOT), options


def main() -> None:
    """Train two epochs and print the second's images a second."""
    recipe, _ = work.asked()
    given, options = task(recipe)
    speeds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        loop.fit(given, options, Checkpoints(Path(folder)), lambda epoch, speed: speeds.append(speed or 0.0))
    print(speeds[-1])


if __name__ == "__main__":
    main()
