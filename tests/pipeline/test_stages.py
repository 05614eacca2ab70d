"""The real pipeline in real clones, through the doors that users take."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from clones import (
    BIN,
    MAKE,
    OWN_DATA,
    SMALL,
    browser,
    contents,
    free_port,
    mlflow_runs,
    project_run,
    ran,
    run,
    run_queue,
    server,
    wait_for,
    workspace_state,
    write_photos,
)
from PIL import Image
from support import git

from imagetrail.files import artifacts
from imagetrail.params import overrides
from imagetrail.params.load import load_params
from imagetrail.tracking import outcome, store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the client of MLflow warns of its own insides
]


# --- make repro, dvc repro --------------------------------------------------------------------------------------------


def test_make_repro_reaches_and_prints_its_figure(first_repro: tuple[Path, str]) -> None:
    clone, output = first_repro
    assert ran(output) == ["download", "preprocess", "split", "train", "evaluate"]
    accuracy = json.loads((clone / "metrics/test.json").read_text())["accuracy"]
    assert accuracy >= 0.985
    assert f"test accuracy {accuracy:.4f}" in output
    assert ".venv/bin/mlflow ui" in output
    assert len(mlflow_runs(clone)) == 1


def test_the_second_make_repro_runs_nothing(first_repro: tuple[Path, str]) -> None:
    clone, _ = first_repro
    before = contents(clone)
    again = run(clone, *MAKE, "repro")
    assert ran(again.stdout) == []
    assert contents(clone) == before
    assert "test accuracy" in again.stdout
    assert len(mlflow_runs(clone)) == 1
    assert {line[3:] for line in git(clone, "status", "--short").splitlines()} <= {
        "dvc.lock", "metrics/train.json", "metrics/test.json",
    }  # fmt: skip


def test_make_repro_repairs_what_a_killed_dvc_left(reproduced: Path) -> None:
    """Empty and half-written files stop every `dvc repro`."""
    before = contents(reproduced)
    (reproduced / ".dvc/tmp").mkdir(exist_ok=True)
    (reproduced / ".dvc/tmp/rwlock").write_text("")
    (reproduced / "dvc.lock").write_bytes(before["dvc.lock"][: before["dvc.lock"].index(b"md5:") + 2])
    again = run(reproduced, *MAKE, "repro")
    assert ran(again.stdout) == []
    assert contents(reproduced) == before
    assert again.stderr.count("was half written by a killed process") == 2


def test_a_parameter_reruns_the_stages_that_depend_on_it(reproduced: Path) -> None:
    text = (reproduced / "params.yaml").read_text()
    (reproduced / "params.yaml").write_text(text.replace("calibration_bins: 15", "calibration_bins: 10"))
    assert ran(run(reproduced, "dvc", "repro").stdout) == ["evaluate"]
    (reproduced / "params.yaml").write_text(text.replace("jobs: -1", "jobs: 1"))
    assert ran(run(reproduced, "dvc", "repro").stdout) == []


def pull(source: Path, folder: Path) -> Path:
    """Push what a repository holds to a new remote, clone it, and pull the outputs from there."""
    run(source, "dvc", "remote", "add", "--default", "shelf", str(folder / "shelf"))
    run(source, "dvc", "push", "--quiet")
    run(source, "git", "commit", "--quiet", "-am", "outputs and a remote")
    pulled = folder / "pulled"
    git(source, "clone", "--quiet", ".", str(pulled))
    (pulled / ".venv").symlink_to(BIN.parent)
    run(pulled, "dvc", "pull", "--quiet")
    return pulled


def test_a_pulled_clone_gets_its_run_from_mlflow_run_and_make_repro(reproduced: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    write_photos(photos)
    run(reproduced, "dvc", "exp", "run", *OWN_DATA, *SMALL, "-S", f"download.path={photos}")
    pulled = pull(reproduced, tmp_path)
    accuracy = json.loads((pulled / "metrics/test.json").read_text())["accuracy"]
    for door in ("mlflow run", "make repro"):
        done = project_run(pulled) if door == "mlflow run" else run(pulled, *MAKE, "repro")
        assert ran(done.stdout) == []
        (rebuilt,) = mlflow_runs(pulled)
        assert rebuilt.data.tags["imagetrail.rebuilt"] == "true"
        assert rebuilt.data.metrics["test/accuracy"] == accuracy
        assert rebuilt.inputs.dataset_inputs[0].dataset.name == "csv"
        if door == "mlflow run":
            run(pulled, "mlflow", "runs", "delete", "--run-id", rebuilt.info.run_id,
                MLFLOW_TRACKING_URI=f"sqlite:///{pulled}/mlflow.db")  # fmt: skip

    # A forced training ends with the same bytes, so evaluate has nothing to do; its figures are in the run.
    assert ran(run(pulled, "dvc", "repro", "-s", "-f", "train").stdout) == ["train"]
    assert ran(run(pulled, "dvc", "repro").stdout) == []
    assert [r.data.metrics["test/accuracy"] for r in mlflow_runs(pulled)] == [accuracy] * 2

    shutil.rmtree(photos)
    assert ran(run(pulled, "dvc", "repro", "--allow-missing").stdout) == []


# --- your own data ----------------------------------------------------------------------------------------------------


def test_changed_images_rerun_exactly_the_dependent_stages(fresh: Path) -> None:
    source = fresh / "data/source"
    write_photos(source)
    everything = ["download", "preprocess", "split", "train", "evaluate"]
    assert ran(run(fresh, "dvc", "exp", "run", *OWN_DATA, *SMALL).stdout) == everything
    assert not (fresh / "data/raw/images").exists()
    assert git(fresh, "status", "--short", "data") == ""
    dataset = json.loads((fresh / "data/tensors/dataset.json").read_text())
    assert (dataset["classes"], dataset["shape"]) == (["dark", "light"], [24, 3, 16, 16])

    lines = (source / "photos.csv").read_text().splitlines()
    (source / "photos.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert ran(run(fresh, "dvc", "repro").stdout) == ["download"]

    with Image.open(source / "00.png") as image:
        image.transpose(Image.Transpose.ROTATE_180).save(source / "00.png")
    rerun = ran(run(fresh, "dvc", "repro").stdout)
    assert rerun[:3] == ["download", "preprocess", "split"]

    # A bad image: one sentence, the list, and the earlier outputs one `dvc checkout` away.
    tensors = (fresh / "data/tensors/images.npy").read_bytes()
    good = (source / "05.jpg").read_bytes()
    (source / "05.jpg").write_bytes(good[:100])
    failed = run(fresh, "dvc", "repro", code=255)
    (message,) = (line for line in failed.stderr.splitlines() if line.startswith("imagetrail:"))
    assert "1 of 24 images cannot be used" in message
    assert "Traceback" not in failed.stderr
    with (fresh / "data/rejected.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["05.jpg"]
    (source / "05.jpg").write_bytes(good)
    run(fresh, "dvc", "checkout")
    assert (fresh / "data/tensors/images.npy").read_bytes() == tensors
    assert ran(run(fresh, "dvc", "repro").stdout) == []


MISTAKES = {
    "download.source=csv": "download.table: data/source/labels.csv is not a file",
    "model.name=ResNet": "'ResNet' is not known here",
}


def test_a_mistake_stops_the_pipeline_with_one_sentence(reproduced: Path) -> None:
    lock, before = (reproduced / "dvc.lock").read_bytes(), contents(reproduced)
    original = (reproduced / "params.yaml").read_bytes()
    for override, message in MISTAKES.items():
        overrides.apply(reproduced, [f"++{override}"])
        failed = run(reproduced, "dvc", "repro", code=255)
        (sentence,) = (line for line in failed.stderr.splitlines() if line.startswith("imagetrail:"))
        assert message in sentence
        assert "Traceback" not in failed.stderr
        (reproduced / "params.yaml").write_bytes(original)
        assert (reproduced / "dvc.lock").read_bytes() == lock
    run(reproduced, "dvc", "checkout")
    git(reproduced, "restore", "metrics")  # git keeps these, not DVC
    assert contents(reproduced) == before


# --- mlflow run, experiments ------------------------------------------------------------------------------------------


SMALL_RECIPE = ("recipe=mnist-mlp", "download.source=digits", "preprocess.image_size=8", "model.hidden=[16]",
                "train.epochs=1", "train.optimizer.weight_decay=1e-2", "train.seed=")  # fmt: skip


def test_mlflow_run_is_one_run_and_leaves_the_workspace_unchanged(reproduced: Path) -> None:
    (reproduced / "notes.txt").write_text("untracked\n")
    before = workspace_state(reproduced)
    project_run(reproduced, *SMALL_RECIPE)
    assert workspace_state(reproduced) == before
    (first,) = mlflow_runs(reproduced)
    assert first.info.status == "FINISHED"
    logged = first.data.params
    assert logged["recipe"] == "mnist-mlp"
    assert (logged["model.name"], logged["model.hidden"], logged["train.epochs"]) == ("MLP", "'[16]'", "1")
    assert logged["train.optimizer.weight_decay"] == "1e-2", "as typed"
    assert logged["train.optimizer.lr"] == "0.001", "the recipe's own"
    assert "model.widths" not in logged, "the network of params.yaml does not leak in"
    assert "-mlp " in first.info.run_name, "two recipes are as near to this"
    assert {"train/loss", "test/accuracy", "model/parameters", "model/multiply_adds"} <= first.data.metrics.keys()
    assert first.outputs.model_outputs

    # The same again: DVC has nothing to train, and nothing is lost.
    again = project_run(reproduced, *SMALL_RECIPE)
    assert ran(again.stdout) == []
    assert workspace_state(reproduced) == before
    _, second = mlflow_runs(reproduced)
    for name, value in first.data.metrics.items():
        if not name.startswith("system/"):
            assert second.data.metrics[name] == value
    assert second.data.tags["imagetrail.source_run_id"] == first.info.run_id
    assert second.outputs.model_outputs == first.outputs.model_outputs

    run(reproduced, "dvc", "exp", "apply", f"mlflow-{first.info.run_id[:8]}")
    assert load_params(reproduced).train.epochs == 1
    applied = json.loads((reproduced / "models/model.json").read_text())["sha256"]
    assert applied == first.data.tags["imagetrail.model_sha256"]


def test_mlflow_run_rejects_mistakes_before_any_stage(reproduced: Path) -> None:
    before = workspace_state(reproduced)
    message = "train.epcohs = 3 is not a parameter; did you mean 'epochs'?"
    refused = project_run(reproduced, "train.epcohs=3", code=1)
    assert message in refused.stderr
    assert ran(refused.stdout) == []
    assert workspace_state(reproduced) == before
    (failed,) = mlflow_runs(reproduced)
    assert failed.info.status == "FAILED"
    assert message in failed.data.tags["mlflow.note.content"]


def test_mlflow_run_without_git_restores_everything(reproduced: Path) -> None:
    shutil.rmtree(reproduced / ".git")
    run(reproduced, "dvc", "config", "core.no_scm", "true")
    before = contents(reproduced) | {"params.yaml": (reproduced / "params.yaml").read_bytes()}
    project_run(reproduced, *SMALL_RECIPE)
    assert contents(reproduced) | {"params.yaml": (reproduced / "params.yaml").read_bytes()} == before
    (finished,) = mlflow_runs(reproduced)
    assert (finished.data.params["model.name"], finished.data.params["train.epochs"]) == ("MLP", "1")
    assert "test/accuracy" in finished.data.metrics

    # Without earlier outputs too, however often; dvc.lock names outputs that the cache need not have.
    for folder in artifacts.OUTPUTS:
        shutil.rmtree(reproduced / folder)
    before = contents(reproduced)
    for _ in range(2):
        project_run(reproduced, *SMALL_RECIPE)
        assert contents(reproduced) == before

    # Outputs of the first stage alone are kept: a download may have taken days.
    run(reproduced, "dvc", "repro", "download")
    before = contents(reproduced)
    project_run(reproduced, *SMALL_RECIPE)
    assert contents(reproduced) == before
    assert (reproduced / "data/raw/labels.csv").is_file()


def test_queued_experiments_meet_in_one_table_with_their_own_code(reproduced: Path) -> None:
    layers = reproduced / "src/imagetrail/model/networks/layers.py"
    original = layers.read_text()
    changed = original.replace("nn.ReLU()", "nn.GELU()")
    assert changed != original
    layers.write_text(changed)
    for seed in ("0", "1"):
        run(reproduced, "dvc", "exp", "run", "--queue", *SMALL, "-S", f"train.seed={seed}")
    layers.write_text(original)
    run(reproduced, "dvc", "exp", "run", "--queue", *SMALL, "-S", "train.seed=0")
    assert not (reproduced / "mlflow.db").exists(), "the first start is three at once"
    run_queue(reproduced, jobs=3)
    logged = mlflow_runs(reproduced)
    assert [r.info.status for r in logged] == ["FINISHED"] * 3
    assert sorted(r.data.params["train.seed"] for r in logged) == ["0", "0", "1"]
    assert all("test/accuracy" in r.data.metrics and r.outputs.model_outputs for r in logged)
    losses = {r.data.metrics["train/loss"] for r in logged}
    assert len(losses) == 3, "the queued code was not used"


# --- what is left behind ----------------------------------------------------------------------------------------------


def test_predict_answers_as_evaluate_did(first_repro: tuple[Path, str]) -> None:
    clone, _ = first_repro
    with (clone / "plots/predictions.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    files = [f"data/raw/images/{row['image']}" for row in expected]
    answers = json_lines(run(clone, "imagetrail", "predict", "--json", *files).stdout)
    for answer, row in zip(answers, expected, strict=True):
        assert answer["label"] == row["predicted"]
        for name in ("predicted", "second", "third"):
            written = float(row["confidence" if name == "predicted" else f"{name}_confidence"])
            assert answer["probabilities"][row[name]] == pytest.approx(written, abs=1.5e-6)
    (logged,) = mlflow_runs(clone)
    from_run = json_lines(
        run(clone, "imagetrail", "predict", "--json", "--run", logged.info.run_id, *files[:20]).stdout
    )
    for a, b in zip(from_run, answers[:20], strict=True):
        assert a["label"] == b["label"]
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-6)
    sets = json_lines(run(clone, "imagetrail", "predict", "--json", "--coverage", "0.95", *files).stdout)
    held = [row["label"] in answer["labels"] for row, answer in zip(expected, sets, strict=True)]
    sizes = [len(answer["labels"]) for answer in sets]
    figures = json.loads((clone / "metrics/test.json").read_text())
    assert (np.mean(held), np.mean(sizes)) == pytest.approx((figures["coverage_95"], figures["set_size_95"]), abs=0.006)
    table = run(clone, "imagetrail", "predict", *files[:2]).stdout.splitlines()
    assert len(table) == 2
    assert table[0].startswith(files[0])


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_predict_names_unreadable_images(first_repro: tuple[Path, str]) -> None:
    clone, _ = first_repro
    done = run(clone, "imagetrail", "predict", "README.md", "data/raw/images/digit-0001.png", "no.png", code=1)
    assert "digit-0001.png" in done.stdout
    assert "README.md: not an image" in done.stderr
    assert "no.png: missing" in done.stderr
    assert "2 of 3 images were not answered" in done.stderr
    assert "is not a run" in run(clone, "imagetrail", "predict", "--run", "0" * 32, "x.png", code=2).stderr


def test_predict_prints_names_that_are_not_utf_8(first_repro: tuple[Path, str], tmp_path: Path) -> None:
    clone, _ = first_repro
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    shutil.copy(clone / "data/raw/images/digit-0001.png", odd)
    done = run(clone, "imagetrail", "predict", odd, PYTHONIOENCODING="utf-8:strict")
    assert "caf\\udce9.png" in done.stdout


def test_the_mlflow_ui_shows_the_run(first_repro: tuple[Path, str], tmp_path: Path) -> None:
    import mlflow

    shutil.copy(first_repro[0] / store.DATABASE, tmp_path)  # other tests count the runs of the shared clone
    (logged,) = mlflow_runs(tmp_path)
    client = mlflow.MlflowClient(store.local(tmp_path))
    for name, accuracy in (("a better one", 0.9999), ("a worse one", 0.5)):
        client.log_metric(client.create_run("0", run_name=name).info.run_id, "test/accuracy", accuracy)
    port = free_port()
    page = f"http://127.0.0.1:{port}/#/experiments/0"
    command = ("mlflow", "ui", "--port", str(port), "--workers", "1")
    with (
        server(tmp_path, *command, port=port, url=f"http://127.0.0.1:{port}/health"),
        browser(tmp_path / "profile") as driver,
    ):
        driver.get(outcome.RUNS_PAGE.replace("5000", str(port)))
        table = wait_for(driver, "digits default")
        assert "3 matching runs" in table
        assert all(column in table for column in ("test/accuracy", "val/accuracy", "test/loss", "test/ece")), table
        places = [table.index(name) for name in ("a better one", "digits default", "a worse one")]
        assert places == sorted(places), "the best test accuracy comes first"
        driver.get(f"{page}/runs/{logged.info.run_id}")
        overview = wait_for(driver, "test accuracy")
        assert "train.optimizer.lr" in overview
        driver.get(f"{page}/runs/{logged.info.run_id}/model-metrics")
        charts = wait_for(driver, "val_accuracy")  # the charts' names without their section's
        assert re.search(r"^model\s*\(5\)", charts, re.M)


def test_dvc_plots_open_without_a_network(first_repro: tuple[Path, str], tmp_path: Path) -> None:
    clone, _ = first_repro
    run(clone, "dvc", "plots", "show", "--out", str(tmp_path / "page"))
    html = (tmp_path / "page/index.html").read_text()
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=\"https?:", html)
    with browser(tmp_path / "profile") as driver:
        driver.get(f"file://{tmp_path}/page/index.html")
        wait_for(driver, "workspace")
        assert len(driver.find_elements("css selector", ".vega-embed .marks")) == 3
        assert len(driver.find_elements("tag name", "img")) == 8
        assert driver.execute_script("return [...document.images].every(image => image.naturalWidth > 0)")
