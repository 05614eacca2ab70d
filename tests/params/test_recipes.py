"""Recipes: overlays that fit, keep their word about parameters, and take the default's place whole."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support import REPOSITORY, set_params

from bench.figures import FIGURES, Figure
from imagetrail.errors import ParamsError
from imagetrail.model import networks
from imagetrail.params import recipes
from imagetrail.params.load import load_params

NAMES = recipes.names(REPOSITORY)
CLASSES = {
    "MNIST": 10,
    "FashionMNIST": 10,
    "CIFAR10": 10,
    "digits": 10,
    "cats-dogs-resnet50": 2,
    "flowers-resnet152": 5,
}


def test_every_system_has_its_recipe() -> None:
    assert set(NAMES) == {
        "default", "mnist-cnn", "mnist-cnn-plus", "mnist-tiny", "mnist-micro", "csv-gray", "folder-cnn", "mnist-mlp",
        "fashion-mlp", "fashion-cnn", "cats-dogs-resnet50", "cifar10-resnet152", "cifar10-cnn", "flowers-resnet152",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_recipes_contain_only_differences(name: str) -> None:
    """Every line of an overlay changes something; a repeated default would be a second home of it."""
    default = recipes.params(REPOSITORY, "default").model_dump()

    def repeated(overlay: dict, base: dict, prefix: str) -> list[str]:
        found = []
        for key, value in overlay.items():
            if isinstance(value, dict) and isinstance(base.get(key), dict) and "name" not in value:
                found += repeated(value, base[key], f"{prefix}{key}.")
            elif base.get(key) == value:
                found.append(prefix + key)
        return found

    if name != "default":
        assert repeated(dict(recipes.read(REPOSITORY, name).overlay), default, "") == []


@pytest.mark.parametrize("name", NAMES)
def test_recipes_have_the_stated_number_of_parameters(name: str) -> None:
    params, about = recipes.params(REPOSITORY, name), recipes.read(REPOSITORY, name).about
    stated = about.parameters.split(" ")[0].rstrip(",").replace(",", "")
    if name in ("csv-gray", "folder-cnn"):  # it depends on the data, or is rounded
        return
    classes = CLASSES.get(name) or CLASSES[params.download.source]
    size = params.preprocess.size
    assert size is not None
    network = networks.build(params.model.name, params.preprocess.channels, size, classes, params.model.arguments)
    assert sum(parameter.numel() for parameter in network.parameters()) == int(stated)


def test_apply_starts_from_the_default_and_keeps_comments(root: Path) -> None:
    set_params(root, train__epochs=7, model={"name": "MLP", "weights": None, "hidden": [5], "dropout": 0.0})
    changes = recipes.apply(root, "mnist-cnn")
    assert load_params(root) == recipes.params(root, "mnist-cnn")
    assert (changes["train.epochs"], changes["model.name"]) == ((7, 20), ("MLP", "PlainCNN"))
    text = (root / "params.yaml").read_text()
    assert "# folder of local data" in text
    assert "widths: [32, 64, 128, 256]" in text
    assert "about" not in text
    recipes.apply(root, "default")
    assert (root / "params.yaml").read_bytes() == (REPOSITORY / "params.yaml").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epocs: 3}", "recipes/mine.yaml: 'epocs' is not in the default; did you mean 'epochs'?"),
        ("train: {epochs: 0}", "recipes/mine.yaml: train.epochs = 0 must be greater than or equal to 1"),
        ("train: [", "recipes/mine.yaml is not valid YAML"),
        ("", "recipes/mine.yaml is not a recipe"),
    ],
)
def test_a_wrong_recipe_leaves_params_yaml_unchanged(root: Path, text: str, message: str) -> None:
    about = "about: {system: a, data: b, parameters: c, reach: d}\n" if text else ""
    (root / "recipes/mine.yaml").write_text(about + text)
    before = (root / "params.yaml").read_bytes()
    with pytest.raises(ParamsError) as error:
        recipes.apply(root, "mine")
    assert message in str(error.value)
    assert (root / "params.yaml").read_bytes() == before


def imagetrail(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from imagetrail.doors.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_recipe_command_lists_shows_and_applies(root: Path) -> None:
    listed = imagetrail(root, "recipe", "list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["recipe", *recipes.names(root)]
    assert "593,200" in listed
    assert "99.70 % as the mean of 3 seeds" in listed
    shown = imagetrail(root, "recipe", "show", "mnist-tiny").stdout
    assert shown == (root / "recipes/mnist-tiny.yaml").read_text()
    applied = imagetrail(root, "recipe", "apply", "mnist-tiny").stdout
    assert '  download.source: "digits" → "MNIST"\n' in applied
    assert applied.splitlines()[-1].startswith("params.yaml holds mnist-tiny: ")
    assert load_params(root).train.max_params == 3500
    failed = imagetrail(root, "recipe", "apply", "mnist-tin")
    assert failed.returncode == 2
    assert failed.stderr == "imagetrail: 'mnist-tin' is not a recipe; did you mean 'mnist-tiny'?\n"


def test_a_run_is_named_after_the_nearest_recipe(root: Path) -> None:
    from imagetrail.tracking.contents import run_name

    set_params(root, train__arithmetic="portable")
    assert run_name(root, load_params(root)) == "digits default"
    set_params(root, train__epochs=5)
    assert run_name(root, load_params(root)) == "digits epochs=5"
    recipes.apply(root, "mnist-cnn")
    set_params(root, train__optimizer__lr=0.02, download__path="elsewhere")
    assert run_name(root, load_params(root)) == "mnist-cnn lr=0.02"
    set_params(root, download__source="FashionMNIST")
    assert run_name(root, load_params(root)) == "FashionMNIST mnist-cnn lr=0.02"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"source": "csv", "split_column": "split", "group_column": "patient"}, "csv default"),
        ({"source": "csv", "path": "data/source/scans", "table": "all.csv"}, "scans default"),
        ({"source": "auto", "path": "../data/birds/"}, "birds default"),
        ({"source": "archive", "archive": "pets.v2.tar.gz"}, "pets default"),
        ({"source": "archive", "archive": "https://x.org/get?token=$SECRET&n=pets"}, "get default"),
    ],
)
def test_a_run_names_its_data_and_not_its_settings(root: Path, data: dict, name: str) -> None:
    from imagetrail.tracking.contents import run_name

    set_params(root, train__arithmetic="portable", **{f"download__{key}": value for key, value in data.items()})
    assert run_name(root, load_params(root)) == name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("start", ["default", "mnist-cnn", "cifar10-cnn"])
def test_overrides_turn_any_params_into_the_recipe(root: Path, name: str, start: str) -> None:
    """What `mlflow run -P recipe=NAME` hands to DVC, leaf by leaf, through DVC's own parser."""
    from dvc.utils.hydra import apply_overrides

    from imagetrail.params.overrides import of_arguments, pairs

    recipes.apply(root, start)
    apply_overrides(
        root / "params.yaml", of_arguments(root, pairs(["--train.seed", "3", "--recipe", name, "--train.epochs", ""]))
    )
    found = YAML(typ="safe").load((root / "params.yaml").read_text())
    wanted = YAML(typ="safe").load(recipes.render(root, name))
    wanted["train"]["seed"] = 3
    assert json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.recipe} {figure.data}")
def test_every_figure_has_valid_parameters(root: Path, figure: Figure) -> None:
    from imagetrail.params.overrides import check, of_arguments, pairs

    arguments = [part for name, value in figure.parameters.items() for part in (f"--{name}", value)]
    params = check(root, of_arguments(root, pairs(["--recipe", figure.recipe, *arguments])))
    assert params.train.epochs == recipes.params(root, figure.recipe).train.epochs


def test_every_recipe_has_its_figure() -> None:
    assert {figure.recipe for figure in FIGURES} == set(NAMES)


def test_rendering_does_not_affect_other_yaml_files() -> None:
    """ruamel keeps representers by class: params.yaml and its hash would differ for equal parameters."""

    def dumped() -> str:
        stream = io.StringIO()
        YAML().dump({"schedule": None}, stream)
        return stream.getvalue()

    before = dumped()
    assert "schedule: null" not in before
    assert "null" in recipes.render(REPOSITORY, "mnist-cnn")
    assert dumped() == before
