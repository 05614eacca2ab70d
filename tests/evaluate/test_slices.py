"""Slices of the test rows: how columns are cut, what is measured, and the way of a column from a table to the gate."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import set_params

from imagetrail.errors import DataError, GateError, ParamsError
from imagetrail.evaluate import metrics, slices
from imagetrail.files import artifacts
from imagetrail.params.load import load_params
from stages import download, evaluate, preprocess, split, train


def test_the_slice_that_is_worse_than_chance_explains_comes_first() -> None:
    random = np.random.default_rng(0)
    site = np.array(["north", "south", "east"])[random.integers(0, 3, 600)]
    correct = random.random(600) < np.where(site == "south", 0.6, 0.95)
    found = slices.measure({"site": site.tolist(), "hour": random.integers(0, 24, 600).astype(str).tolist()}, correct)
    assert (found[0].column, found[0].value) == ("site", "south")
    assert found[0].p_value < 1e-6
    assert all(one.p_value == 1 for one in found if one.column == "hour"), "Holm's correction for 27 slices"
    assert found[0].n == (site == "south").sum()
    assert found[0].accuracy == correct[site == "south"].mean()
    assert found[0].low < found[0].accuracy < found[0].high


def test_numbers_of_many_values_become_ranges_and_rare_texts_one_slice() -> None:
    correct = np.ones(1000, bool)
    ages = [str(n / 10) for n in range(990)] + [""] * 10
    found = {one.value: one.n for one in slices.measure({"age": ages}, correct)}
    assert found == {"0 to 24.7": 248, "over 24.7 to 49.4": 247, "over 49.4 to 74.2": 248, "over 74.2 to 98.9": 247,
                     "(empty)": 10}  # fmt: skip
    names = [f"p{n % 300}" for n in range(900)] + ["most"] * 100
    found = {one.value: one.n for one in slices.measure({"patient": names}, correct)}
    assert len(found) == slices.MOST
    assert found["most"] == 100
    assert found["(other values)"] == 1000 - 100 - 3 * (slices.MOST - 2)


@given(st.lists(st.sampled_from(["", "a", "b", "1", "2.5", "nan"]), min_size=1, max_size=60), st.randoms())
def test_slices_are_disjoint_and_cover_every_image(values: list[str], random) -> None:
    correct = np.array([random.random() < 0.5 for _ in values])
    found = slices.measure({"x": values}, correct)
    assert sum(one.n for one in found) == len(values)
    assert round(sum(one.n * one.accuracy for one in found)) == correct.sum()


@given(st.data())
def test_the_area_under_the_curve_is_scikit_learns(data: st.DataObject) -> None:
    from sklearn.metrics import roc_auc_score

    n = data.draw(st.integers(2, 60))
    positive = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda x: 0 < sum(x) < n)))
    scores = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=n, max_size=n)), np.float32)
    assert metrics.auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def write_sites(root: Path, source: str) -> None:
    """Images whose grey tells the class, but not at the site `dark`; a table of them."""
    random, lines = np.random.default_rng(0), []
    folder = root / "data/source"
    for number in range(120):
        label, site = "ab"[number % 2], ("dark", "bright", "=day")[number % 3]
        grey = (40 if label == "a" else 200) if site != "dark" else 120
        pixels = np.clip(random.normal(grey, 8, (8, 8)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        lines.append((f"{number:03d}.png", label, site, number))
    if source == "csv":
        artifacts.write_rows(folder / "labels.csv", ("image", "label", "site", "hour"), lines)
    else:
        cells = [(folder / line[0]).read_bytes() for line in lines]
        _, names, sites, hours = zip(*lines, strict=True)
        table = pa.table({"image": cells, "label": names, "site": sites, "hour": hours})
        pq.write_table(table, folder / "all.parquet")
    set_params(root, download__source=source, download__columns=["site", "hour"], preprocess__image_size=8)
    set_params(root, train__epochs=3, model__widths=[8], train__arithmetic="native", machine__jobs=1)


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_columns_stay_with_their_images_up_to_the_gate(root: Path, source: str) -> None:
    write_sites(root, source)
    broken = "017.png" if source == "csv" else None
    if broken:
        (root / "data/source" / broken).write_bytes(b"no image")
        set_params(root, preprocess__max_rejected=1)
    for stage in (download, preprocess, split, train, evaluate):
        stage.main(root)
    rows = list(artifacts.read_tensor_rows(root))
    kept = artifacts.read_columns(root, range(len(rows)))
    numbers = [int(row.image.removesuffix(".png").rpartition("/")[2]) for row in rows]
    assert kept["hour"] == [str(number) for number in numbers]
    assert kept["site"] == [("dark", "bright", "=day")[number % 3] for number in numbers]

    with (root / "plots/predictions.csv").open(newline="") as file:
        readable = list(csv.DictReader(file))
    assert {line["site"] for line in readable} == {"dark", "bright", "'=day"}, "safe in a spreadsheet"
    exact = pq.read_table(root / "plots/predictions.parquet").to_pylist()
    assert [line["hour"] for line in exact] == [line["hour"] for line in readable]
    assert {line["site"] for line in exact} == {"dark", "bright", "=day"}

    figures = json.loads((root / "metrics/test.json").read_text())
    site = figures["slices"]["site"]
    right = [line["label"] == line["predicted"] for line in readable if line["site"] == "dark"]
    assert site["dark"]["n"] == len(right)
    assert site["dark"]["accuracy"] == pytest.approx(np.mean(right))
    assert figures["auroc_classes"] == figures["balanced_accuracy_classes"] == figures["macro_f1_classes"] == 2
    gate = {"accuracy": None, "recall": None, "slice": 0.99, "ece": None, "baseline": None}
    set_params(root, evaluate__gate=gate)
    with pytest.raises(GateError, match=r"accuracy 0\.\d+ of the \d+ images with site = 'dark' is below 0\.99"):
        evaluate.main(root)


def test_columns_that_cannot_be_kept_are_refused(root: Path) -> None:
    write_sites(root, "csv")
    for columns, message in (
        (["sight"], "the column 'sight' of download.columns is not among"),
        (["site", "site"], "columns has 'site' twice; name each column once"),
        (["predicted"], "columns has 'predicted', which predictions.csv has already; rename it in the table"),
    ):
        set_params(root, download__columns=columns)
        with pytest.raises((DataError, ParamsError), match=message):
            download.main(root)
    set_params(root, download__columns=None)
    set_params(root, evaluate__gate={"accuracy": None, "recall": None, "slice": 0.9, "ece": None, "baseline": None})
    for changes in ({}, {"download__source": "digits", "download__columns": ["site"]}):
        set_params(root, **changes)
        with pytest.raises(ParamsError, match=r"evaluate.gate.slice = 0.9 needs columns to slice the test rows by"):
            load_params(root)


def test_rows_that_repeat_an_image_agree_on_its_columns(root: Path) -> None:
    write_sites(root, "csv")
    with (root / "data/source/labels.csv").open("a") as file:
        file.write("000.png,a,bright,0\n")
    with pytest.raises(DataError, match=r"'000.png' is .*bright.* here and .*dark.* on line 2; keep one"):
        download.main(root)
