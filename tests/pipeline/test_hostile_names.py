"""Names from the data are text everywhere: on pages, in tables, at the terminal."""

import csv
from pathlib import Path

import pytest
from clones import browser, make_clone, mlflow_runs, run, wait_for
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of its own insides

OWNED = "document.documentElement.dataset.owned=1"
LABELS = [
    f"</script><script>{OWNED}</script>",
    f'<img src=x onerror="{OWNED}">',
    "=HYPERLINK(1)",
    "$10_$ {{7*7}} ${train.seed}",
]


def write_data(folder: Path) -> None:
    rows = [("image", "label")]
    for number in range(40):
        name = f"<i>{number:02d}&amp;.png"
        Image.new("L", (8, 8), number % 4 * 60 + number // 4).save(folder / name)
        rows.append((name, LABELS[number % 4]))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_no_page_runs_or_hides_a_name(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    write_data(clone / "data/source")
    parameters = ("download.source=csv", "train.epochs=1", "model.widths=[4]")
    done = run(clone, "dvc", "exp", "run", *(part for p in parameters for part in ("-S", p)))
    assert "Traceback" not in done.stderr
    run(clone, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    (logged,) = mlflow_runs(clone)
    run(clone, "imagetrail", "compare", "--page", str(tmp_path / "compared.html"), *[logged.info.run_id] * 2)
    with browser(tmp_path / "profile") as driver:
        driver.get(f"file://{tmp_path}/plots/index.html")
        wait_for(driver, "workspace")
        assert len(driver.find_elements("css selector", ".vega-embed .marks")) == 3
        assert not driver.execute_script("return document.documentElement.dataset.owned")
        driver.get(f"file://{clone}/plots/report.html")
        words = wait_for(driver, "Mistakes")
        assert all(label in words for label in LABELS), "shown as they are"
        assert not driver.execute_script("return document.documentElement.dataset.owned")
        driver.get(f"file://{tmp_path}/compared.html")
        words = wait_for(driver, "recall of")
        assert all(label in words for label in LABELS), "shown as they are"
        assert not driver.execute_script("return document.documentElement.dataset.owned")
    with (clone / "plots/predictions.csv").open(newline="") as file:
        cells = {cell for line in csv.DictReader(file) for cell in line.values()}
    assert "'=HYPERLINK(1)" in cells
    assert not any("<" in cell or cell.startswith(("=", "+", "-", "@")) for cell in cells)
