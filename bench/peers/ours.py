"""imagetrail's loop with the recipe's parameters, without validation rows, from its first batch to its checkpoint."""

import sys
import tempfile
from pathlib import Path

import work

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench import made_up  # noqa: E402
from imagetrail.params.train import Train  # noqa: E402
from imagetrail.train import loop  # noqa: E402
from imagetrail.train.checkpoints import Checkpoints  # noqa: E402


def task(recipe: str) -> tuple[loop.Task, Train]:
    """Build the recipe's training on the made-up images."""
    images, labels = work.images(recipe)
    return made_up.training(recipe, images[:, None], labels, epochs=2, threads=work.THREADS)


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
