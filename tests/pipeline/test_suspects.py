"""Label errors from their discovery to what their correction gained, in a real browser."""

import csv
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from clones import browser, make_clone, mlflow_runs, run, wait_for
from support import set_params

from imagetrail.sweeps import held_out, suspects
from imagetrail.sweeps.held_out import HeldOut


def test_neighbours_are_the_most_similar_of_a_class_and_not_the_image_itself() -> None:
    features = np.array([[1, 0], [2, 0.1], [0, 1], [1, 1], [-1, 0], [3, 0], [1, 0.2]], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 0, 0])
    assert held_out.nearest(features, labels, 0, 0).tolist() == [5, 1, 6, 2]
    assert held_out.nearest(features, labels, 0, 1).tolist() == [3, 4]


def test_suspects_are_those_whose_label_contradicts_the_models() -> None:
    random_ = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 60)
    probabilities = np.full((180, 3), 0.05, np.float32)
    probabilities[np.arange(180), labels] = 0.9
    probabilities += random_.uniform(0, 0.01, probabilities.shape).astype(np.float32)
    given = labels.copy()
    given[[3, 77, 150]] = [1, 2, 0]
    names = [f"{n}.png" for n in range(180)]
    found = suspects.find(HeldOut(["a", "b", "c"], names, given, probabilities, {}))
    assert {(one.image, one.label, one.likely) for one in found} == {
        ("3.png", "b", "a"), ("77.png", "c", "b"), ("150.png", "a", "c"),
    }  # fmt: skip
    shares = [one.label_probability for one in found]
    assert shares == sorted(shares)


@pytest.mark.slow
def test_label_errors_are_found_shown_corrected_and_compared(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    set_params(clone, train__epochs=8, model__widths=[16, 32], train__arithmetic="native", machine__jobs=1)
    set_params(clone, split__by="hash")  # or a corrected label would move other images between the sides
    run(clone, "dvc", "repro", "split")
    with (clone / "data/raw/labels.csv").open(newline="") as file:
        truth = {line["image"]: line["label"] for line in csv.DictReader(file)}
    chosen = random.Random(0).sample(sorted(truth), len(truth) // 20)
    path = clone / "data/source/relabel.csv"
    wrong = "".join(f"{name},{(int(truth[name]) + 3) % 10},made up\n" for name in chosen)
    path.write_text(f"image,label,reason\n{wrong}")
    run(clone, "dvc", "repro")
    first = mlflow_runs(clone)[0].info.run_id

    done = run(clone, "imagetrail", "sweep", "--folds", "3")
    assert "labels are probably wrong; the run shows them in sweep/suspects.html" in done.stdout
    (table,) = clone.glob("mlruns/*/*/artifacts/sweep/suspects.csv")
    with table.open(newline="") as file:
        found = list(csv.DictReader(file))
    hits = [line for line in found if line["image"] in chosen]
    assert len(hits) >= 40, "of some 71 on the train and validation sides"
    assert sum(line["image"] in chosen for line in found[:30]) >= 24
    assert sum(line["likely"] == truth[line["image"]] for line in hits[:30]) >= 20
    assert table.read_bytes().count(b"\r") == 0

    with browser(tmp_path / "profile") as driver:
        driver.get(f"file://{table.with_suffix('.html')}")
        wait_for(driver, "Labels that are probably wrong")
        assert driver.execute_script("return [...document.images].every(image => image.naturalWidth == 8)")
        assert len(driver.find_elements("css selector", ".near img")) > 4 * len(found)
        for choice in driver.find_elements("css selector", "input[value=likely]"):
            driver.execute_script("arguments[0].click()", choice)
        lines = driver.find_element("id", "lines").get_property("value").splitlines()
        assert driver.get_log("browser") == []
    right = dict(line.split(",")[:2] for line in lines[1:])
    assert right == {line["image"]: line["likely"] for line in found}
    path.write_text("\n".join([lines[0], *lines[1:]]) + "\n" + "".join(
        line for line in wrong.splitlines(keepends=True) if line.partition(",")[0] not in right
    ))  # fmt: skip
    run(clone, "dvc", "repro")
    dataset = json.loads((clone / "data/tensors/dataset.json").read_text())
    assert dataset["corrections"]["relabelled"] >= len(chosen)
    second = mlflow_runs(clone)[-1].info.run_id
    done = run(clone, "imagetrail", "compare", first, second)
    assert re.search(r"data\.relabelled +89 +\d+", done.stdout), done.stdout
    tested = len(np.load(clone / "data/split/test.npy"))
    assert f"{tested} test images in both runs" in done.stdout, "a corrected label moves no image to another side"
