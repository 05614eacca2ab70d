"""The report of an evaluation, in a real browser: from disk, from the run, light and dark, wide and narrow."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from clones import browser, make_clone, mlflow_runs, run, wait_for
from support import need, set_params

pytestmark = pytest.mark.slow
LIMIT = 5 * 2**20
PARTS = ("Model card", "Data", "Training", "Confusion", "Calibration", "Mistakes", "Slices", "Map")


def test_the_report_opens_everywhere_and_tells_the_run(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    set_params(clone, train__epochs=2, model__widths=[8], train__arithmetic="native", machine__jobs=1)
    run(clone, "dvc", "repro")
    first = mlflow_runs(clone)[0].info.run_id
    gate = {"accuracy": None, "recall": None, "slice": None, "ece": None, "baseline": first}
    set_params(
        clone,
        train__seed=1,
        evaluate__gate=gate,
        evaluate__licence="CC BY 4.0",
        evaluate__intended_use="To read <b>digits</b>.\nNot cheques.",
    )
    run(clone, "dvc", "repro", code=None)
    (second,) = (r for r in mlflow_runs(clone) if r.info.run_id != first)
    (logged,) = clone.glob(f"mlruns/*/{second.info.run_id}/artifacts/evaluation/report.html")
    accuracy = json.loads((clone / "metrics/test.json").read_text())["accuracy"]
    assert not re.search(r"(?:src|href)=\"(?!data:)", logged.read_text()), "it needs no network"
    with browser(tmp_path / "profile") as driver:
        for place, parts in ((clone / "plots/report.html", PARTS), (logged, (*PARTS, "Run", "Environment"))):
            for width, scheme in ((1600, "light"), (360, "dark")):
                size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
                driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
                driver.get(f"file://{place}")
                words = wait_for(driver, f"{accuracy:.4f} of 359 test images have the right answer")
                titles = [e.text for e in driver.find_elements("css selector", "h2, h3")]
                assert {*parts} <= {*titles}, (place, titles)
                assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), width
                assert driver.execute_script("return [...document.images].every(image => image.naturalWidth > 0)")
                paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
                assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
                assert "To read <b>digits</b>." in words
                assert "CC BY 4.0" in words
                assert driver.get_log("browser") == []
        assert f"imagetrail reproduce {second.info.run_id}" in words
        assert "-P train.seed=1" in words
        assert f"Against the baseline {first}" in words
        assert "These test images have judged 2 models" in words


def test_the_report_of_photographs_stays_small(tmp_path: Path) -> None:
    data = os.environ.get("IMAGETRAIL_TEST_DATA")
    need(data, "IMAGETRAIL_TEST_DATA")
    clone = make_clone(tmp_path / "clone")
    set_params(
        clone, download__source="folder", download__path="data/source/photos", preprocess__image_size=160,
        preprocess__channels=3, train__epochs=1, model__widths=[4, 4, 4, 4], train__arithmetic="native",
        evaluate__mistakes=60,
    )  # fmt: skip
    shutil.copytree(Path(str(data)) / "flower-photos", clone / "data/source/photos")
    run(clone, "dvc", "repro")
    assert (clone / "plots/report.html").stat().st_size < LIMIT
