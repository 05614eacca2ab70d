"""The gate, the champion and the comparison on real runs in a real store."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from clones import BIN, browser, free_port, mlflow_runs, run, server, wait_for
from support import make_root, set_params

from imagetrail.doors import cli
from imagetrail.errors import GateError, ImagetrailError
from imagetrail.tracking import registry
from stages import download, evaluate, preprocess, split, train

pytestmark = [
    pytest.mark.xdist_group("gate"),  # one process builds the fixtures of the module
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow warns of its own insides
]
NOTHING = {"accuracy": None, "recall": None, "slice": None, "ece": None, "baseline": None}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which three models met the gate: one first failed, then passed; one is worse; one better."""
    root = tmp_path_factory.mktemp("gate") / "repository"
    root.mkdir()
    make_root(root, train__epochs=6, model__widths=[16, 32], evaluate__registry="digits")
    set_params(root, evaluate__gate=NOTHING | {"accuracy": 0.999})
    for stage in (download, preprocess, split, train):
        stage.main(root)
    with pytest.raises(GateError, match=r"does not pass evaluate\.gate: accuracy 0\.\d+ is below 0\.999"):
        evaluate.main(root)
    assert registry.champion(root, "digits") is None

    set_params(root, evaluate__gate=NOTHING | {"accuracy": 0.5, "baseline": "champion"})
    evaluate.main(root)  # the first champion has nobody to beat

    set_params(root, train__optimizer__lr=0.00003)
    train.main(root)
    set_params(root, evaluate__gate=NOTHING | {"baseline": "champion"})
    with pytest.raises(GateError, match=r"than the baseline's 0\.\d+ on the same 359 images, and .* significantly"):
        evaluate.main(root)

    set_params(root, train__optimizer__lr=0.003, train__epochs=12)
    train.main(root)
    evaluate.main(root)
    return root


@pytest.fixture
def imagetrail(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command in that repository and return what it prints; a process for each would take seconds."""
    monkeypatch.chdir(history)

    def command(*arguments: str) -> str:
        cli.run(list(arguments))
        return capsys.readouterr().out

    return command


def test_runs_are_tagged_and_the_last_that_passed_is_champion(history: Path) -> None:
    first, worse, last = mlflow_runs(history)
    assert first.data.tags["imagetrail.gate"] == "passed", "the second look, with another gate, replaced the first"
    assert "is significantly less accurate" in worse.data.tags["imagetrail.gate"]
    assert last.data.tags["imagetrail.gate"] == "passed"
    assert registry.champion(history, "digits") == last.info.run_id
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{history.resolve()}/mlflow.db")
    versions = client.search_model_versions("name = 'digits'")
    assert {v.run_id for v in versions} == {first.info.run_id, last.info.run_id}


def test_predict_uses_the_champion_by_default(history: Path, imagetrail: Callable[..., str]) -> None:
    _, worse, last = mlflow_runs(history)
    images = sorted(str(path) for path in (history / "data/raw/images").iterdir())[:8]

    def predict(*options: str) -> list[dict]:
        lines = imagetrail("predict", "--json", *options, *images).splitlines()
        return [json.loads(line) for line in lines]

    assert predict() == predict("--run", last.info.run_id)
    assert predict() != predict("--run", worse.info.run_id)


def test_serve_and_export_take_the_champion(history: Path, imagetrail: Callable[..., str]) -> None:
    port, last = free_port(), mlflow_runs(history)[-1]
    command = (BIN / "imagetrail", "serve", "champion", "--port", str(port))
    health = f"http://127.0.0.1:{port}/health"
    with server(history, *command, port=port, url=health), urllib.request.urlopen(health, timeout=60) as response:
        about = json.load(response)["model"]
    assert (about["run_id"], about["model_sha256"]) == (last.info.run_id, last.data.tags["imagetrail.model_sha256"])
    set_params(history, export__agreement=0.5)
    assert f"Run {last.info.run_id} holds them" in imagetrail("export", "champion:digits", "--to", "onnx")


def test_an_unknown_baseline_fails_the_stage(history: Path) -> None:
    set_params(history, evaluate__gate=NOTHING | {"baseline": "f" * 32})
    with pytest.raises(GateError, match=r"the run 'f+' has no evaluation/predictions\.parquet"):
        evaluate.main(history)
    last = mlflow_runs(history)[-1]
    assert "has no evaluation/predictions.parquet" in last.data.tags["imagetrail.gate"]
    assert "test/accuracy" in last.data.metrics, "the figures are logged all the same"


def test_runs_are_compared_as_table_json_and_page(
    history: Path, imagetrail: Callable[..., str], tmp_path: Path
) -> None:
    first, worse, last = mlflow_runs(history)
    text = imagetrail("compare", first.info.run_id[:12], worse.info.run_id)
    assert "train.optimizer.lr" in text
    assert "0.00003" in text or "3e-05" in text
    assert "train.batch_size" not in text, "equal ones are left out"
    assert "is significantly less accurate" in text
    found = json.loads(imagetrail("compare", "--json", "champion:digits", first.info.run_id, worse.info.run_id))
    assert found["runs"] == [last.info.run_id, first.info.run_id, worse.info.run_id]
    second = found["comparisons"][1]
    accuracies = [run.data.metrics["test/accuracy"] for run in (last, worse)]
    assert [interval["value"] for interval in second["figures"]["accuracy"][:2]] == pytest.approx(accuracies)
    assert [interval["value"] for interval in second["figures"]["loss"][:2]] == pytest.approx(
        [run.data.metrics["test/loss"] for run in (last, worse)], abs=1e-5
    )
    assert [interval["value"] for interval in second["figures"]["macro_f1"][:2]] == pytest.approx(
        [run.data.metrics["test/macro_f1"] for run in (last, worse)]
    )
    assert len(second["disagreements"]) == second["only_first"] + second["only_second"]

    page = tmp_path / "page.html"
    imagetrail("compare", "--page", str(page), first.info.run_id, worse.info.run_id)
    with browser(tmp_path / "profile") as driver:
        driver.get(f"file://{page}")
        words = wait_for(driver, "Images that only one run classifies correctly")
        assert "train.optimizer.lr" in words
        assert "Beside each image, what the answers of the first and the second come from." in words
        shown = driver.find_elements("css selector", "figure")
        assert len(driver.find_elements("css selector", "figure img")) == 3 * len(shown) > 0
        assert driver.execute_script("return [...document.images].every(image => image.naturalWidth == 8)")
        assert driver.get_log("browser") == []


@pytest.mark.parametrize(
    ("references", "message"),
    [
        (["nobody", "nobody"], "no run has the id or name 'nobody'"),
        (["", ""], "matches 3 runs"),
        (["champion:cats", "champion:cats"], "no model has passed the gate yet"),
        (["one"], "compare takes two or more runs"),
    ],
)
def test_incomparable_runs_are_reported(imagetrail: Callable[..., str], references: list[str], message: str) -> None:
    with pytest.raises(ImagetrailError, match=message):
        imagetrail("compare", *references)


def test_the_gate_fails_the_pipeline(reproduced: Path) -> None:
    text = (reproduced / "params.yaml").read_text()
    changed = text.replace("gate: null", "gate: {accuracy: 1.0, recall: null, slice: null, ece: null, baseline: null}")
    assert changed != text
    (reproduced / "params.yaml").write_text(changed)
    done = run(reproduced, "dvc", "repro", code=255)
    assert "does not pass evaluate.gate: accuracy 0.9" in done.stderr
    (logged,) = mlflow_runs(reproduced)
    assert "is below 1" in logged.data.tags["imagetrail.gate"]
    assert (
        logged.data.metrics["test/accuracy"] == json.loads((reproduced / "metrics/test.json").read_text())["accuracy"]
    )
