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
from imagetrail.evaluate.explanation import Deletion, Explanation
from imagetrail.evaluate.inference import Predictions
from imagetrail.files import artifacts
from imagetrail.files.arrays import Subset
from imagetrail.params.train import Augment
from imagetrail.train import preview
from imagetrail.train.loop import Epoch

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 1, 8, 6), dtype=np.uint8)
AFFINE = {"name": "RandomAffine", "degrees": 20.0}
SUBSET = make_subset(IMAGES, [0, 0, 0, 1, 1, 0, 1, 1, 2, 1], [2, 5, 7, 9], ["a", "b", "c"])


WHY_NOT = "MLP has no feature maps, so its answers have no place in an image."


def draw_mistakes(path: Path, predictions: Predictions, subset: Subset, count: int) -> None:
    pictures.mistakes(path, predictions, subset, predictions.mistakes()[:count], WHY_NOT)


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
        lambda path: draw_mistakes(path, PREDICTIONS, SUBSET, 24),
        lambda path: preview.augmented(path, SUBSET, [Augment.model_validate(AFFINE)], seed=0, seen=None),
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


def test_the_confusion_matrix_counts_classes_as_people_do(tmp_path: Path, figures: list[Figure]) -> None:
    names = [str(number) for number in range(12)]
    order = sorted(names)
    labels = np.array([order.index("10"), order.index("2")])
    predictions = Predictions.of(order, np.arange(2), labels, [np.eye(12)[labels]])
    pictures.confusion_matrix(tmp_path / "c.png", predictions)
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert {text.get_position() for text in axes.texts} == {(10, 10), (2, 2)}


def test_reliability_shows_how_often_answers_are_right(tmp_path: Path, figures: list[Figure]) -> None:
    pictures.reliability(tmp_path / "r.png", PREDICTIONS, 10)
    above, below = figures[0].axes
    shown = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height() for bar in above.patches}
    assert shown == {0.55: 0, 0.75: 0.5, 0.85: 1}
    assert sum(bar.get_height() for bar in below.patches) == 4
    pictures.reliability(tmp_path / "r.png", replace(PREDICTIONS, uncalibrated=np.full(4, 0.99)), 10)
    titles = [axes.get_title() for axes in figures[1].axes]
    assert [title.partition(",")[0] for title in titles if title] == ["as trained", "with temperature"]


def test_mistakes_show_the_misclassified_images(tmp_path: Path, figures: list[Figure]) -> None:
    draw_mistakes(tmp_path / "m.png", PREDICTIONS, SUBSET, 1)
    (shown,) = (axes for axes in figures[0].axes if axes.images)
    worst = PREDICTIONS.mistakes()[0]
    assert np.array_equal(shown.images[0].get_array()[:, :, 0], IMAGES[PREDICTIONS.rows[worst], 0])
    true, guess = (PREDICTIONS.classes[codes[worst]] for codes in (PREDICTIONS.labels, PREDICTIONS.predicted))
    assert shown.get_title().startswith(f"{true} → {guess}\n")
    assert figures[0].get_suptitle() == f"2 mistakes in 4 test images, the 1 most confident\n{WHY_NOT}"


def test_mistakes_are_drawn_beside_their_heatmaps(tmp_path: Path, figures: list[Figure]) -> None:
    wrong = PREDICTIONS.mistakes()
    heat = np.zeros((2, *IMAGES.shape[2:]), np.float32)
    heat[0, 0, 0] = heat[1, 5, 3] = 1
    pictures.mistakes(
        tmp_path / "m.png", PREDICTIONS, SUBSET, wrong, Explanation(heat, Deletion(0.5, 0.1, 4))
    )  # fmt: skip
    for axes, position, place in zip(figures[0].axes, wrong, ((0, 0), (5, 3)), strict=False):
        tile = axes.images[0].get_array()
        width = tile.shape[1] // 2
        assert np.array_equal(tile[:, :width, 0], IMAGES[PREDICTIONS.rows[position], 0])
        right = tile[:, width + 1 :].astype(int)
        marked = right.sum(axis=2) - 3 * right.min(axis=2)
        assert np.unravel_index(marked.argmax(), marked.shape) == place, "the colour is where the heat is"
    assert figures[0].get_suptitle().endswith("; beside each, what the answer comes from")


def test_samples_show_each_class(tmp_path: Path, figures: list[Figure]) -> None:
    pictures.samples(tmp_path / "s.png", SUBSET)
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    sheet = axes.images[0].get_array()  # a frame of one pixel around each image of 8 x 6
    assert np.array_equal(sheet[1:9, 1:7, 0], IMAGES[2, 0]), "row 2 is the first of class a"
    assert np.array_equal(sheet[10:18, 1:7, 0], IMAGES[7, 0]), "row 7 is the first of class b"


def test_mistakes_are_drawn_even_if_there_are_none(tmp_path: Path, figures: list[Figure]) -> None:
    perfect = replace(PREDICTIONS, labels=PREDICTIONS.predicted)
    draw_mistakes(tmp_path / "m.png", perfect, SUBSET, 24)
    assert figures[0].get_suptitle() == f"0 mistakes in 4 test images\n{WHY_NOT}"
    assert not any(axes.images for axes in figures[0].axes)


HOSTILE = [
    "$^$",
    "$10_$",
    "\\frac{1}{0}$x$",
    "猫 にゃん 고양이",
    "ไทย",
    "</script><b>",
    "a" * 300,
    "\x1b[31m",
    "עברית",
    "😀",
]


@pytest.fixture
def hostile() -> tuple[Predictions, Subset]:
    count = len(HOSTILE)
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 6), dtype=np.uint8)
    chances = np.random.default_rng(1).dirichlet(np.ones(count), count)
    rows = np.arange(count)
    return Predictions.of(HOSTILE, rows, rows, [chances]), make_subset(images, rows, rows, HOSTILE)


def test_names_are_drawn_as_text_whatever_they_hold(
    tmp_path: Path, figures: list[Figure], hostile: tuple[Predictions, Subset], capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings are errors in tests, and matplotlib warns of each missing glyph."""
    drawing._warn_once.cache_clear()
    predictions, subset = hostile
    pictures.confusion_matrix(tmp_path / "c.png", predictions)
    pictures.samples(tmp_path / "s.png", subset)
    draw_mistakes(tmp_path / "m.png", predictions, subset, 10)
    shown = {label.get_text() for label in figures[0].axes[0].get_yticklabels()}
    assert shown >= {*HOSTILE[:4], HOSTILE[5]}
    assert "<U+0E44><U+0E17><U+0E22>" in shown
    assert "a" * 11 + "…" + "a" * 12 in shown
    assert "<U+001B>[31m" in shown
    assert not any(text.get_parse_math() for text in figures[0].axes[0].get_yticklabels())
    assert capsys.readouterr().err.count("\n") == 1, "one warning"


def test_cut_and_missing_characters_do_not_hide_each_other() -> None:
    assert drawing.label("ab", 2) == "ab"
    assert drawing.label("abcdef", 5) == "ab…ef"
    assert drawing.label("ไ", 8) == "<U+0E44>"
    assert drawing.label("ไไก", 18) == "<U+0E44>…<U+0E01>"
    assert drawing.label("猫" * 9, 7) == "猫猫…猫"


def test_long_names_are_cut_in_the_middle() -> None:
    """Names of files and of fine-grained classes often differ at the end only."""
    assert drawing.label("train/images/00012_a.png", 15) == "train/i…2_a.png"
    assert len(drawing.label("x" * 100_000, 40)) == 40


def test_numbers_are_sorted_as_numbers() -> None:
    names = ["10", "9", "class 2", "class 10", "B", "a"]
    assert [names[position] for position in drawing.naturally(names)] == ["9", "10", "a", "B", "class 2", "class 10"]


def test_images_of_any_proportions_fit_a_picture(tmp_path: Path) -> None:
    images = np.zeros((3, 1, 4096, 1), np.uint8)
    pictures.samples(tmp_path / "s.png", make_subset(images, [0, 1, 2], [0, 1, 2], ["a", "b", "c"]))
    assert (tmp_path / "s.png").stat().st_size > 1000
