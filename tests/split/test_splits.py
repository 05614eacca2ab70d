"""The split: disjoint, complete, stratified, repeatable, duplicates on one side, a stated one kept."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import set_params

from imagetrail.errors import DataError
from imagetrail.files import artifacts
from imagetrail.files.artifacts import Dataset, Finding, TensorRow
from imagetrail.split.stratified import stratified_split
from stages import split

CLASSES = [f"class {n}" for n in range(5)]


@given(
    labels=st.lists(st.integers(0, 4), min_size=4, max_size=200),
    copies=st.lists(st.integers(0, 3), min_size=200, max_size=200),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32),
)
def test_split_invariants_hold_for_any_data(labels: list[int], copies: list[int], share: float, seed: int) -> None:
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


def test_the_seed_determines_the_split_and_global_state_is_untouched() -> None:
    labels, groups = np.repeat(np.arange(2), 50), np.arange(100, dtype=np.uint64)
    np.random.seed(1)  # noqa: NPY002  # the global state is what is tested
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (stratified_split(labels, groups, 0.2, seed, CLASSES)[1] for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_in_few_groups_gets_its_share_too(seed: int) -> None:
    """A split that only counts rows would leave the share of the rare class to chance."""
    groups = np.repeat(np.arange(40, dtype=np.uint64), 10)
    labels = np.tile(np.repeat([0, 1], 5), 40)
    labels[groups % 4 != 0] = 0  # the rare class is in ten of the forty groups
    _, chosen = stratified_split(labels, groups, 0.2, seed, CLASSES)
    for label in (0, 1):
        assert (labels[chosen] == label).sum() / (labels == label).sum() == pytest.approx(0.2, abs=0.02)


def test_a_class_with_one_distinct_image_is_named() -> None:
    with pytest.raises(DataError, match="the class 'class 1' has one distinct image or group"):
        stratified_split(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2], np.uint64), 0.5, 0, CLASSES)


def write_rows(root: Path, rows: list[TensorRow]) -> None:
    classes = sorted({row.label for row in rows})
    table = root / "data/tensors/rows.csv"
    artifacts.write_rows(table, TensorRow._fields, rows)
    sha256 = artifacts.file_sha256(table)
    dataset = Dataset("csv", classes, dict.fromkeys(classes, 1), [len(rows), 1, 8, 8], None, 0, {}, {}, sha256, {})
    artifacts.write_dataset(root / "data/tensors/dataset.json", dataset)


def rows_of(splits: list[str]) -> list[TensorRow]:
    return [TensorRow(f"{n}.png", "ab"[n % 2], part, "", f"{n:064x}"[::-1]) for n, part in enumerate(splits)]


def load(root: Path) -> dict[str, list[int]]:
    return {name: np.load(root / f"data/split/{name}.npy").tolist() for name in ("train", "val", "test")}


def test_test_takes_20_percent_and_validation_comes_from_train(root: Path) -> None:
    write_rows(root, rows_of([""] * 100))
    split.main(root)
    parts = load(root)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [64, 16, 20]
    assert sorted(row for part in parts.values() for row in part) == list(range(100))


def test_the_seed_determines_test_and_validation_rows(root: Path) -> None:
    write_rows(root, rows_of([""] * 100))
    drawn = []
    for seed in (0, 0, 1):
        set_params(root, split__seed=seed)
        split.main(root)
        drawn.append(load(root))
    assert drawn[0] == drawn[1]
    assert drawn[0]["test"] != drawn[2]["test"]
    assert drawn[0]["val"] != drawn[2]["val"]


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
        (["train"] * 4 + [""] * 2 + ["test"] * 2, "the data states a split, but 2 rows have none"),
        (["test"] * 8, "the split that the data states has no train rows"),
    ],
)
def test_an_incomplete_stated_split_is_rejected(root: Path, splits: list[str], message: str) -> None:
    write_rows(root, rows_of(splits))
    with pytest.raises(DataError, match=message):
        split.main(root)


# --- what belongs together --------------------------------------------------------------------------------------------


def row(number: int, label: str, part: str = "", group: str = "", pixels: int | None = None) -> TensorRow:
    return TensorRow(f"{number:03d}.png", label, part, group, f"{number if pixels is None else pixels:064x}"[::-1])


def test_a_class_of_two_images_is_one_too_few_for_validation(root: Path) -> None:
    write_rows(root, [*(row(n, "a") for n in range(20)), row(20, "rare"), row(21, "rare")])
    with pytest.raises(
        DataError, match="1 classes are too small, as each needs 3 for its sides of the split: 'rare' has two distinct"
    ):
        split.main(root)


def test_a_stated_split_names_classes_that_one_side_lacks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(n, "ab"[n % 2], "train" if n < 16 else "test") for n in range(24)]
    write_rows(root, [*rows, row(24, "fox", "test")])
    with pytest.raises(DataError, match="has no train rows of 'fox'; add some"):
        split.main(root)
    write_rows(root, [*rows, *(row(n, "fox", "train") for n in range(24, 30))])
    split.main(root)
    assert "has no test rows of 'fox'." in capsys.readouterr().err


@given(
    data=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 14), st.integers(0, 400)), min_size=40, max_size=150),
    share=st.floats(0.2, 0.8),
    seed=st.integers(0, 100),
)
def test_groups_of_several_classes_stay_together(data: list[tuple[int, int, int]], share: float, seed: int) -> None:
    labels, groups = (np.array(values) for values in zip(*((a, b) for a, b, _ in data), strict=True))
    try:
        rest, chosen = stratified_split(labels, groups, share, seed, CLASSES)
    except DataError:
        return
    assert np.array_equal(np.sort(np.concatenate([rest, chosen])), np.arange(len(labels)))
    assert not set(groups[rest]) & set(groups[chosen])
    for label in np.unique(labels):
        assert 0 < (labels[chosen] == label).sum() < (labels == label).sum()
    assert np.array_equal(stratified_split(labels, groups, share, seed, CLASSES)[1], chosen)


def test_groups_of_several_classes_approach_the_share() -> None:
    random = np.random.default_rng(0)
    labels, groups = random.integers(0, 3, 3000), random.integers(0, 150, 3000)
    _, chosen = stratified_split(labels, groups, 0.2, 0, CLASSES)
    for label in range(3):
        assert abs((labels[chosen] == label).mean() * len(chosen) / (labels == label).sum() - 0.2) < 0.02


def test_groups_and_duplicates_of_their_images_stay_on_one_side(root: Path) -> None:
    rows = [row(n, "ab"[n % 2], group=f"patient {n // 6}") for n in range(60)]
    rows += [row(60 + n, "ab"[n % 2], pixels=6 * n + n % 2) for n in range(10)]  # copies, of no group
    write_rows(root, rows)
    split.main(root)
    side = {number: name for name, numbers in load(root).items() for number in numbers}
    assert len(side) == 70
    for number in range(60):
        assert side[number] == side[number // 6 * 6]
    for n in range(10):
        assert side[60 + n] == side[6 * n + n % 2]
    assert set(side.values()) == {"train", "val", "test"}


def test_a_hash_split_keeps_old_rows_in_place(root: Path) -> None:
    rows = [row(n, "ab"[n % 2], group=f"patient {n // 3}" if n % 5 else "") for n in range(300)]
    set_params(root, split__by="hash")
    sides = []
    for count in (200, 300):
        write_rows(root, rows[:count])
        split.main(root)
        sides.append({rows[n].image: name for name, numbers in load(root).items() for n in numbers})
    assert len(sides[1]) == 300
    assert sides[0].items() <= sides[1].items()
    parts = load(root)
    assert 35 < len(parts["test"]) < 85
    assert 30 < len(parts["val"]) < 75
    for group in range(100):
        assert len({sides[1][r.image] for r in rows if r.group == f"patient {group}"}) <= 1


def test_a_hash_split_that_leaves_a_class_on_one_side_is_rejected(root: Path) -> None:
    write_rows(root, [row(n, "ab"[n % 2]) for n in range(100)])
    set_params(root, split__by="hash", split__test=1e-9)
    with pytest.raises(DataError, match="puts all images of the class 'a' on one side; add images"):
        split.main(root)


def test_leaks_of_a_stated_split_fail_with_the_list(root: Path) -> None:
    rows = [row(n, "ab"[n % 2], "train" if n < 20 else "test") for n in range(30)]
    rows[21] = rows[21]._replace(pixel_sha256=rows[1].pixel_sha256)
    rows[22] = rows[22]._replace(group="x")
    rows[4] = rows[4]._replace(group="x")
    write_rows(root, rows)
    with pytest.raises(DataError, match=r"2 images are on another side .*; data/leaks\.csv lists them") as error:
        split.main(root)
    assert "'001.png' (train) belongs with '021.png' (test)" in str(error.value)
    assert (root / "data/leaks.csv").read_text().splitlines()[1:] == [
        "001.png,train,021.png,test",
        "004.png,train,022.png,test",
    ]
    assert not (root / "data/split").exists()


def test_on_leak_drop_removes_leaking_images_from_train(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(n, "ab"[n % 2], "train" if n < 20 else "test") for n in range(30)]
    rows[21] = rows[21]._replace(pixel_sha256=rows[1].pixel_sha256)
    write_rows(root, rows)
    set_params(root, split__on_leak="drop")
    split.main(root)
    parts = load(root)
    assert parts["test"] == list(range(20, 30))
    assert sorted(parts["train"] + parts["val"]) == [0, *range(2, 20)]
    assert (root / "data/split/leaks.csv").read_text() == "image,side,other,other_side\n001.png,train,021.png,test\n"
    assert "1 images are left out" in capsys.readouterr().err


def test_a_stated_split_without_test_rows_gets_a_test_from_its_train_rows(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(root, [row(n, "ab"[n % 2], "train") for n in range(20)] + [row(n, "ab"[n % 2], "val") for n in (20, 21)])
    split.main(root)
    sides = load(root)
    assert sides["val"] == [20, 21]
    assert len(sides["test"]) == 4
    assert sorted(sides["train"] + sides["test"]) == list(range(20))
    assert "no test rows: split.test = 0.2 of its train rows" in capsys.readouterr().err


SMALL = [*(row(n, "a") for n in range(20)), *(row(n, "b") for n in range(20, 40)), row(40, "lone"), row(41, "pair"),
         row(42, "pair")]  # fmt: skip


def test_small_classes_are_all_named(root: Path) -> None:
    write_rows(root, SMALL)
    with pytest.raises(
        DataError, match=r"2 classes are too small.* 'lone' has one distinct image or group, 'pair' has two"
    ):
        split.main(root)


@pytest.mark.parametrize(("policy", "trained"), [("train", {40, 41, 42}), ("drop", set())])
def test_small_classes_are_trained_on_or_left_out(
    root: Path, policy: str, trained: set[int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(root, SMALL)
    set_params(root, split__on_rare=policy)
    split.main(root)
    sides = load(root)
    assert {40, 41, 42} & set(sides["train"]) == trained
    assert not {40, 41, 42} & {*sides["val"], *sides["test"]}
    assert f"are {'only trained on' if policy == 'train' else 'left out'}: 'lone' has one" in capsys.readouterr().err


def near_copies(root: Path) -> None:
    """Rows 0 and 1, 2 and 3, … are near copies."""
    pairs = [Finding("near duplicate", f"{n + 1:03d}.png", f"{n:03d}.png", "") for n in range(0, 40, 2)]
    artifacts.write_rows(root / "data/tensors/findings.csv", Finding._fields, pairs)
    dataset = replace(artifacts.read_dataset(root), findings={"near duplicate": len(pairs)})
    artifacts.write_dataset(root / "data/tensors/dataset.json", dataset)


def test_near_copies_on_two_sides_are_counted_and_kept_together_if_asked(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(root, [row(n, "ab"[n % 4 // 2]) for n in range(40)])
    near_copies(root)
    split.main(root)
    assert re.search(r"\d+ images are on another side of the split than a near copy", capsys.readouterr().err)
    set_params(root, split__group_near_duplicates=True)
    split.main(root)
    assert "near copy" not in capsys.readouterr().err
    for rows in load(root).values():
        assert {number ^ 1 for number in rows} == set(rows)


def test_near_copies_that_are_left_out_are_on_no_side(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(n, "ab"[n % 2]) for n in range(40)]
    write_rows(root, [*rows, row(40, "rare")])
    pairs = [Finding("near duplicate", "040.png", "000.png", "")]
    artifacts.write_rows(root / "data/tensors/findings.csv", Finding._fields, pairs)
    dataset = replace(artifacts.read_dataset(root), findings={"near duplicate": 1})
    artifacts.write_dataset(root / "data/tensors/dataset.json", dataset)
    set_params(root, split__on_rare="drop")
    split.main(root)
    assert "near copy" not in capsys.readouterr().err


def test_near_copies_that_were_not_looked_for_cannot_be_kept_together(root: Path) -> None:
    write_rows(root, [row(n, "ab"[n % 2]) for n in range(40)])
    dataset = artifacts.read_dataset(root)
    artifacts.write_dataset(
        root / "data/tensors/dataset.json", replace(dataset, findings=dataset.findings | {"near duplicate": None})
    )
    set_params(root, split__group_near_duplicates=True)
    with pytest.raises(DataError, match="group_near_duplicates = True cannot be held: 40 images are too many"):
        split.main(root)
