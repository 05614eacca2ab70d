"""Pictures: the same bytes from the same inputs, and the right things on them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from samples import PREDICTIONS, make_subset

from imagetrail import drawing
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


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, to look at what is on them."""
    saved: list[Figure] = []
    save = drawing.save
    monkeypatch.setattr(drawing, "save", lambda figure, path: saved.append(figure) or save(figure, path))
    return saved


def test_curves_show_every_epoch(tmp_path: Path, figures: list[Figure]) -> None:
    write_curves(tmp_path / "c.png")
    loss, accuracy = figures[0].axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[1.0, 0.5], [0.9, 0.7]]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[0.5, 0.8], [0.6, 0.7]]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "val"]


def test_confusion_matrix_has_true_classes_in_rows(tmp_path: Path, figures: list[Figure]) -> None:
    pictures.confusion_matrix(tmp_path / "c.png", PREDICTIONS)
    axes = figures[0].axes[0]
    counts = {(text.get_position()[::-1]): int(text.get_text()) for text in axes.texts}
    expected: dict[tuple[int, int], int] = {}
    for cell in zip(PREDICTIONS.labels.tolist(), PREDICTIONS.predicted.tolist(), strict=True):
        expected[cell] = expected.get(cell, 0) + 1
    assert counts == expected
    assert axes.get_title() == "2 of 4 test images correct"


def test_mistakes_show_the_misclassified_images(tmp_path: Path, figures: list[Figure]) -> None:
    pictures.mistakes(tmp_path / "m.png", PREDICTIONS, SUBSET, 1)
    (shown,) = (axes for axes in figures[0].axes if axes.images)
    worst = PREDICTIONS.mistakes()[0]
    assert np.array_equal(shown.images[0].get_array()[:, :, 0], IMAGES[PREDICTIONS.rows[worst], 0])
    true, guess = (PREDICTIONS.classes[codes[worst]] for codes in (PREDICTIONS.labels, PREDICTIONS.predicted))
    assert shown.get_title().startswith(f"{true} → {guess}\n")
    assert figures[0].get_suptitle() == "2 mistakes in 4 test images, the 1 most confident"


def test_samples_show_each_class(tmp_path: Path, figures: list[Figure]) -> None:
    pictures.samples(tmp_path / "s.png", SUBSET)
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    sheet = axes.images[0].get_array()  # a frame of one pixel around each image of 8 x 6
    assert np.array_equal(sheet[1:9, 1:7, 0], IMAGES[2, 0]), "row 2 is the first of class a"
    assert np.array_equal(sheet[10:18, 1:7, 0], IMAGES[7, 0]), "row 7 is the first of class b"


def test_mistakes_are_drawn_even_if_there_are_none(tmp_path: Path, figures: list[Figure]) -> None:
    perfect = replace(PREDICTIONS, labels=PREDICTIONS.predicted)
    pictures.mistakes(tmp_path / "m.png", perfect, SUBSET, 24)
    assert figures[0].get_suptitle() == "0 mistakes in 4 test images"
    assert not any(axes.images for axes in figures[0].axes)
