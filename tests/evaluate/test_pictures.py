"""Pictures: the same bytes from the same inputs, and something on them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import PREDICTIONS, make_subset

from imagetrail.evaluate import pictures
from imagetrail.files import artifacts
from imagetrail.params.train import Augment
from imagetrail.train import preview
from imagetrail.train.loop import Epoch

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 1, 8, 6), dtype=np.uint8)
AFFINE = {"name": "RandomAffine", "degrees": 20.0}
SUBSET = make_subset(IMAGES, [0, 0, 0, 1, 1, 0, 1, 1, 2, 1], [2, 5, 7, 9], ["a", "b", "c"])


def write_curves(path: Path) -> None:
    history = [Epoch(1, 1.0, 0.5, 0.9, 0.6, 0.1), Epoch(2, 0.5, 0.8, 0.7, 0.7, 0.1)]
    artifacts.write_rows(path.with_suffix(".csv"), Epoch._fields, history)
    pictures.learning_curves(path, path.with_suffix(".csv"))


@pytest.mark.parametrize(
    "draw",
    [
        write_curves,
        lambda path: pictures.confusion_matrix(path, PREDICTIONS),
        lambda path: pictures.samples(path, SUBSET),
        lambda path: pictures.mistakes(path, PREDICTIONS, SUBSET, 24),
        lambda path: preview.augmented(path, SUBSET, [Augment.model_validate(AFFINE)], seed=0),
    ],
    ids=["curves", "confusion", "samples", "mistakes", "augmented"],
)
def test_equal_inputs_give_equal_pictures(draw: Callable[[Path], None], tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        draw(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert len(set(image.convert("L").get_flattened_data())) > 10


def test_no_mistakes_is_a_picture_too(tmp_path: Path) -> None:
    from dataclasses import replace

    perfect = replace(PREDICTIONS, labels=PREDICTIONS.predicted)
    pictures.mistakes(tmp_path / "m.png", perfect, SUBSET, 24)
    assert (tmp_path / "m.png").is_file()
