"""The split: disjoint, complete, stratified, repeatable, duplicates on one side, a stated one kept."""

from pathlib import Path

import numpy as np
import pytest
from conftest import set_params
from hypothesis import given
from hypothesis import strategies as st

from imagetrail import artifacts
from imagetrail.artifacts import Dataset, TensorRow
from imagetrail.errors import DataError
from imagetrail.splits import stratified_split
from stages import split

CLASSES = [f"class {n}" for n in range(5)]


@given(
    labels=st.lists(st.integers(0, 4), min_size=4, max_size=200),
    copies=st.lists(st.integers(0, 3), min_size=200, max_size=200),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32),
)
def test_what_must_hold_for_any_data(labels: list[int], copies: list[int], share: float, seed: int) -> None:
    labels = labels + sorted(set(labels)) * 2  # every class has two distinct images
    classes = np.array(labels, np.int64)
    # Some rows are copies of the row before, when it has the same label.
    groups = np.arange(len(labels), dtype=np.uint64)
    for row in range(1, len(labels) - 2 * len(set(labels))):
        if copies[row] == 0 and labels[row] == labels[row - 1]:
            groups[row] = groups[row - 1]

    rest, chosen = stratified_split(classes, groups, share, seed, CLASSES)

    assert np.array_equal(np.sort(np.concatenate([rest, chosen])), np.arange(len(labels)))
    assert all((np.diff(side) > 0).all() for side in (rest, chosen))
    assert not set(groups[rest]) & set(groups[chosen])
    for label in np.unique(classes):
        count, total = int((classes[chosen] == label).sum()), int((classes == label).sum())
        assert 0 < count < total
        largest = max(np.unique(groups[classes == label], return_counts=True)[1])
        assert abs(count - share * total) <= largest
    again = stratified_split(classes, groups, share, seed, CLASSES)
    assert np.array_equal(again[1], chosen)


def test_the_seed_decides_and_no_global_state_is_touched() -> None:
    labels, groups = np.repeat(np.arange(2), 50), np.arange(100, dtype=np.uint64)
    np.random.seed(1)  # noqa: NPY002  # the global state is what is tested
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (stratified_split(labels, groups, 0.2, seed, CLASSES)[1] for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_a_class_with_one_distinct_image_is_named() -> None:
    with pytest.raises(DataError, match="the class 'class 1' has one distinct image"):
        stratified_split(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2], np.uint64), 0.5, 0, CLASSES)


def write_rows(root: Path, rows: list[TensorRow]) -> None:
    classes = sorted({row.label for row in rows})
    dataset = Dataset("csv", classes, dict.fromkeys(classes, 1), [len(rows), 1, 8, 8], None, 0, "x")
    artifacts.write_dataset(root / "data/tensors/dataset.json", dataset)
    artifacts.write_rows(root / "data/tensors/rows.csv", TensorRow._fields, rows)


def rows_of(splits: list[str]) -> list[TensorRow]:
    return [TensorRow(f"{n}.png", "ab"[n % 2], part, "", f"{n:064x}"[::-1]) for n, part in enumerate(splits)]


def load(root: Path) -> dict[str, list[int]]:
    return {name: np.load(root / f"data/split/{name}.npy").tolist() for name in ("train", "val", "test")}


def test_80_20_and_validation_out_of_train(root: Path) -> None:
    write_rows(root, rows_of([""] * 100))
    split.main(root)
    parts = load(root)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [64, 16, 20]
    assert sorted(row for part in parts.values() for row in part) == list(range(100))


def test_no_validation_is_legal(root: Path) -> None:
    write_rows(root, rows_of([""] * 20))
    set_params(root, split__val=0)
    split.main(root)
    assert (len(load(root)["train"]), load(root)["val"]) == (16, [])


def test_a_stated_split_is_kept(root: Path) -> None:
    write_rows(root, rows_of(["train"] * 20 + ["test"] * 6))
    split.main(root)
    parts = load(root)
    assert parts["test"] == list(range(20, 26))
    assert sorted(parts["train"] + parts["val"]) == list(range(20))
    assert len(parts["val"]) == 4


def test_stated_validation_rows_are_kept(root: Path) -> None:
    write_rows(root, rows_of(["train"] * 8 + ["val"] * 4 + ["test"] * 4))
    split.main(root)
    assert load(root) == {"train": list(range(8)), "val": [8, 9, 10, 11], "test": [12, 13, 14, 15]}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train"] * 4 + [""] * 2 + ["test"] * 2, "2 rows of a split that the data states say nothing"),
        (["train"] * 8, "the split that the data states has no test rows"),
        (["test"] * 8, "the split that the data states has no train rows"),
    ],
)
def test_an_incomplete_stated_split_is_refused(root: Path, splits: list[str], message: str) -> None:
    write_rows(root, rows_of(splits))
    with pytest.raises(DataError, match=message):
        split.main(root)
