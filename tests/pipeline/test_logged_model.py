"""The logged model takes image files, without this checkout: in an environment of its pinned requirements alone."""

import base64
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from clones import BIN, free_port, wait_for_server
from support import PATIENCE, REPOSITORY, make_trained, need

from imagetrail.evaluate import answers
from imagetrail.files import arrays, artifacts
from imagetrail.tracking import logged_model

pytestmark = [
    pytest.mark.xdist_group("logged model"),  # one process builds the fixtures of the module
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow warns of its own insides
]

PYSPARK = "pyspark==4.0.1"
BAD = "bad.png"
README = (REPOSITORY / "README.md").read_text()
CLOSE = 1e-5


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained(tmp_path_factory.mktemp("logged"), train__epochs=4, model__widths=[8, 16])


@pytest.fixture(scope="module")
def folder(trained: Path) -> Path:
    """The model's folder in the store."""
    (mlmodel,) = (trained / "mlruns").rglob("MLmodel")
    return mlmodel.parent


@pytest.fixture(scope="module")
def python(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the model's requirements and Spark, and without this package."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    packages = ["--requirement", str(folder / "requirements.txt"), PYSPARK]
    quiet = {"check": True, "timeout": PATIENCE}
    subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, place], **quiet)  # type: ignore[call-overload]
    installing = [BIN / "uv", "pip", "install", "--quiet", "--python", place / "bin/python", *packages]
    subprocess.run(installing, **quiet)  # type: ignore[call-overload]
    return place / "bin/python"


@pytest.fixture(scope="module")
def images(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the test rows, and one that is not an image."""
    place = tmp_path_factory.mktemp("images")
    rows = list(artifacts.read_tensor_rows(trained))
    for row in arrays.open_subset(trained, "test").rows:
        name = rows[row].image
        (place / name).write_bytes((trained / artifacts.RAW / "images" / name).read_bytes())
    (place / BAD).write_bytes(b"no image")
    return place


def alone(python: Path, code: str, cwd: Path, *arguments: object) -> str:
    """Run code in the environment, with nothing of ours on its path, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
    environment |= {"PYSPARK_PYTHON": str(python), "PATH": f"{python.parent}:{environment['PATH']}"}
    done = subprocess.run([python, "-c", code, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True,
                          text=True, check=False, timeout=PATIENCE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(found: dict[str, dict[str, Any]], root: Path) -> None:
    """Compare predictions, by image, with those that `evaluate` wrote for the test rows."""
    tested = answers.read(root / "plots" / answers.EXACT)
    assert found.keys() == {*tested.images, BAD}
    bad = found[BAD]
    assert bad["error"].startswith("not an image") and bad["label"] == "" and bad["probabilities"] == {}
    for image, code, confidence in zip(tested.images, tested.predicted, tested.confidence, strict=True):
        answer = found[image]
        assert (answer["label"], answer["error"]) == (tested.classes[code], "")
        assert answer["confidence"] == pytest.approx(confidence, abs=CLOSE)
        assert list(answer["probabilities"]) == tested.classes
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=CLOSE)


PYFUNC = """
import json, sys, mlflow, numpy as np, pandas as pd
from pathlib import Path
model = mlflow.pyfunc.load_model(sys.argv[1])
import imagetrail
assert Path(imagetrail.__file__).is_relative_to(sys.argv[1]), imagetrail.__file__
files = sorted(Path(sys.argv[2]).iterdir())
table = model.predict(pd.DataFrame({"image": [file.read_bytes() for file in files]}))
pixels = np.load(sys.argv[3])
arrays = model.predict(pixels)
refused = model.predict(pixels.astype("float64") / 255)["error"].tolist()
print(json.dumps([[file.name for file in files], table.to_dict("records"), arrays.to_dict("records"), refused]))
"""


def test_pyfunc_gives_the_answers_that_evaluate_measured(
    trained: Path, folder: Path, python: Path, images: Path, tmp_path: Path
) -> None:
    test = arrays.open_subset(trained, "test")
    np.save(tmp_path / "pixels.npy", test.images[test.rows[:5]])
    names, lines, of_arrays, refused = json.loads(
        alone(python, PYFUNC, tmp_path, folder, images, tmp_path / "pixels.npy")
    )
    found = dict(zip(names, lines, strict=True))
    check(found, trained)
    rows = list(artifacts.read_tensor_rows(trained))
    for row, line in zip(test.rows, of_arrays, strict=False):
        assert line["probabilities"] == pytest.approx(found[rows[row].image]["probabilities"], abs=CLOSE)
    assert set(refused) == {"not an image file, and not pixels of [1, 8, 8] from 0 to 255"}


SPARK = """
import json, sys, mlflow
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
images = spark.read.format("binaryFile").load(sys.argv[2]).repartition(2)
answer = mlflow.pyfunc.spark_udf(spark, sys.argv[1], env_manager="local")
rows = images.withColumn("answer", answer("content")).select("path", "answer.*").collect()
print(json.dumps([row.asDict() for row in rows]))
"""


def test_spark_scores_a_table_of_images(
    trained: Path, folder: Path, python: Path, images: Path, tmp_path: Path
) -> None:
    need(any(Path(place, "java").is_file() for place in os.environ["PATH"].split(":")), "Java, for Spark")
    lines = json.loads(alone(python, SPARK, tmp_path, folder, images).splitlines()[-1])
    check({Path(line["path"]).name: line for line in lines}, trained)


def test_models_serve_answers_json(trained: Path, folder: Path, python: Path, images: Path, tmp_path: Path) -> None:
    """As README shows it; base64 that is none, and a file that is none, are errors of their rows."""
    port = free_port()
    environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    serving = [python.parent / "mlflow", "models", "serve", "-m", folder, "--env-manager", "local", "-p", str(port)]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            serving, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as server,
    ):
        try:
            wait_for_server(server, port)
            files = sorted(images.iterdir())
            texts = [base64.b64encode(file.read_bytes()).decode() for file in files]
            for body in (
                {"dataframe_records": [{"image": text} for text in texts]},
                {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
                {"inputs": texts},
            ):
                lines = post(port, body)
                check({file.name: line for file, line in zip(files, lines, strict=True)}, trained)
            (command,) = re.findall(r"^ +(curl .*/invocations .*)$", README, re.M)
            command = command.replace(":5001/", f":{port}/").replace("photo.jpg", str(files[0]))
            shown = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=PATIENCE)
            assert json.loads(shown.stdout)["predictions"] == post(port, {"inputs": texts[:1]})
            (line,) = post(port, {"inputs": ["%%%"]})
            assert line["error"] == "the text is not base64"
        finally:
            os.killpg(server.pid, 15)


def post(port: int, body: object) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        found: list[dict[str, Any]] = json.load(response)["predictions"]
        return found


def test_models_predict_reads_the_input_example(folder: Path, python: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    command = [python.parent / "mlflow", "models", "predict", "-m", folder, "--env-manager", "local",
               "-i", folder / "serving_input_example.json", "-o", tmp_path / "out.json"]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=PATIENCE)
    ((line,)) = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert line["label"] in list("0123456789") and line["error"] == ""


def test_a_process_with_other_code_is_warned(folder: Path, tmp_path: Path) -> None:
    """As in a notebook of a checkout that has moved on: Python keeps the package that it imported first."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="mlflow")
        before = list(sys.path)
        mlflow.pyfunc.load_model(str(folder))
        assert sys.path == before, "processes that this one starts import the whole package"
    shutil.copytree(folder, tmp_path / "model")
    decode = tmp_path / "model/code/imagetrail/preprocess/decode.py"
    decode.write_text(decode.read_text() + "# changed\n")
    with pytest.warns(UserWarning, match=r"whose preprocess/decode\.py differs from the model's"):
        mlflow.pyfunc.load_model(str(tmp_path / "model"))


def test_the_dockerfile_holds_the_model(folder: Path, tmp_path: Path) -> None:
    """There is no Docker here: what its steps refer to is checked."""
    command = [BIN / "mlflow", "models", "generate-dockerfile", "-m", folder, "-d", tmp_path]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE)
    steps = (tmp_path / "Dockerfile").read_text()
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"FROM python:{version}-slim" in steps
    (source,) = (line.split()[1] for line in steps.splitlines() if line.startswith("COPY"))
    compared = filecmp.dircmp(folder, tmp_path / source)
    assert not compared.left_only and not compared.right_only
    assert f"pip install mlflow=={pd.Series(requirements(folder))['mlflow']}" in steps


def requirements(folder: Path) -> dict[str, str]:
    lines = (folder / "requirements.txt").read_text().split()
    return dict(line.split("==") for line in lines)


def test_the_model_states_what_it_needs_and_holds_no_pickle(trained: Path, folder: Path) -> None:
    assert requirements(folder)["torch"] == "2.15.0"
    assert not [file for file in folder.rglob("*") if file.suffix in (".pkl", ".pth", ".pt", ".pt2")]
    described = yaml.safe_load((folder / "MLmodel").read_text())
    assert described["metadata"]["classes"] == list("0123456789")
    assert [column["name"] for column in json.loads(described["signature"]["outputs"])] == [
        "label", "confidence", "probabilities", "error",
    ]  # fmt: skip
    assert described["saved_input_example_info"]
    for name in ("model.safetensors", "model.json"):
        assert (folder / logged_model.FILES_OF_TRAIN / name).read_bytes() == (trained / "models" / name).read_bytes()
