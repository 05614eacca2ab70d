"""timm's networks by their names: their features, their weights by file and through their hub, their configuration."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from samples import CARD, make_subset, options
from support import REPOSITORY

from imagetrail.download import weights
from imagetrail.errors import DataError, ParamsError, TrainingError
from imagetrail.model import networks, pretrained
from imagetrail.model.classifier import Classifier
from imagetrail.model.heatmaps import heatmaps
from imagetrail.params import recipes
from imagetrail.params.load import parse_params
from imagetrail.params.model import Model
from imagetrail.train import loop, normalisation
from imagetrail.train.checkpoints import Checkpoints

pytestmark = pytest.mark.filterwarnings("ignore")  # timm's own

SMALL = "timm/mobilenetv3_small_050.lamb_in1k"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The weights of a network of timm with its own head, as its hub stores them."""
    torch.manual_seed(0)
    save_file(timm.create_model(SMALL.removeprefix("timm/")).state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def training(root: Path, name: str, file: str, images: np.ndarray, **changes: object) -> loop.Task:
    subset = make_subset(images, [n % 2 for n in range(len(images))], list(range(len(images))), ["a", "b"])
    model = Model.model_validate({"name": name, "weights": file, "freeze": True} | changes)
    found = weights.find(file, root, root)
    assert found is not None
    card = normalisation.new_card(model, found, None, subset)
    return loop.Task(card, found.path(root, str(root)), subset, replace(subset, rows=subset.rows[:0]), root)


def test_a_file_of_weights_gives_timms_own_features(file: Path, tmp_path: Path) -> None:
    """And brings its normalisation and size; smaller images are enlarged to it, and cached features are the same."""
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 40, 40), dtype=np.uint8)
    task = training(tmp_path, SMALL, file.name, images)
    config = timm.get_pretrained_cfg(SMALL.removeprefix("timm/"))
    assert (task.card.mean, task.card.std) == (list(config.mean), list(config.std))
    assert task.card.input_size == [224, 224]
    chosen = options(epochs=1, optimizer={"name": "SGD", "lr": 0.01}, batch_size=3, keep="last")
    trained = loop.fit(task, chosen, Checkpoints(tmp_path / "c"), lambda epoch, speed: None).classifier

    reference = timm.create_model(SMALL.removeprefix("timm/"), num_classes=0).eval()
    state = {name: tensor for name, tensor in load_file(file).items() if not name.startswith("classifier.")}
    reference.load_state_dict(state)
    with torch.no_grad():
        expected = reference(trained.normalise(torch.from_numpy(images)))
        ours = trained.network.features(trained.normalise(torch.from_numpy(images)))
        logits = trained(torch.from_numpy(images))
    assert torch.allclose(ours, expected, atol=1e-5)
    assert torch.allclose(logits, trained.head(expected), atol=1e-5)
    assert list(tmp_path.glob(".imagetrail/features/*/features.npy")), "features are kept"


def test_model_input_size_wins_over_the_weights_own(file: Path, tmp_path: Path) -> None:
    images = np.zeros((2, 3, 40, 40), np.uint8)
    assert training(tmp_path, SMALL, file.name, images, input_size=32).card.seen == (32, 32)
    random = normalisation.new_card(
        Model.model_validate({"name": SMALL, "weights": None, "freeze": False}), None, None,
        make_subset(images, [0, 1], [0, 1], ["a", "b"]),
    )  # fmt: skip
    assert random.seen == (40, 40)
    assert random.mean == [0.0] * 3, "that of the rows"


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "timm/deit_tiny_distilled_patch16_224"])
def test_transformers_take_the_size_that_they_see(name: str) -> None:
    card = replace(CARD, name=name, arguments={"freeze": False}, image_size=[64, 64])
    model = Classifier(card).eval()
    assert model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 3)
    with pytest.raises(DataError, match="has no feature maps"):
        heatmaps(model, np.zeros((1, 3, 64, 64), np.uint8), np.array([0]))


def test_distilled_transformers_take_their_weights_by_file(tmp_path: Path) -> None:
    """Which hold two heads that a new one replaces."""
    name = "deit_tiny_distilled_patch16_224"
    save_file(timm.create_model(name).state_dict(), tmp_path / "both.safetensors")
    network = networks.build(f"timm/{name}", 3, (224, 224), 2, {"freeze": True})
    pretrained.load(network, tmp_path / "both.safetensors")
    found = load_file(tmp_path / "both.safetensors")["cls_token"]
    assert torch.equal(network.state_dict()["backbone.cls_token"], found)


def test_convolutional_networks_have_heatmaps() -> None:
    torch.manual_seed(1)
    card = replace(CARD, name="timm/convnext_atto", arguments={"freeze": False}, image_size=[64, 64])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    assert heatmaps(Classifier(card).eval(), pixels, np.array([0, 1])).shape == (2, 64, 64)


def test_weights_come_through_timms_hub(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a cache in the hub's own form, since there is no network."""
    import huggingface_hub.constants

    commit, repository = "0" * 40, tmp_path / "cache/models--timm--mobilenetv3_small_050.lamb_in1k"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    (snapshot / "model.safetensors").write_bytes(file.read_bytes())
    (snapshot / "config.json").write_text(json.dumps({"architecture": "mobilenetv3_small_050"}))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "local").mkdir()
    (tmp_path / "fetched").mkdir()
    found = weights.find(SMALL, tmp_path / "local", tmp_path / "fetched")
    assert found is not None and found.fetched
    network = networks.build(SMALL, 3, (64, 64), 2, {"freeze": True})
    pretrained.load(network, tmp_path / "fetched" / found.file)
    stem = next(iter(timm.create_model(SMALL.removeprefix("timm/"), num_classes=0).state_dict()))
    assert torch.equal(network.state_dict()[f"backbone.{stem}"], load_file(file)[stem])
    with pytest.raises(DataError, match=r"'timm/other' could not be fetched .* put it into .*local"):
        weights.find("timm/other", tmp_path / "local", tmp_path / "fetched")


def test_unknown_names_are_reported() -> None:
    with pytest.raises(ValueError, match=r"tinny\.fb_in22k' is not known to timm; did you mean 'convnext_"):
        Model.model_validate({"name": "timm/convnext_tinny.fb_in22k", "weights": None, "freeze": False})
    with pytest.raises(TrainingError, match=r"'timm/convnext_tiny\.nothing' is not known to timm"):
        networks.build("timm/convnext_tiny.nothing", 3, (32, 32), 2, {"freeze": False})


def test_portable_arithmetic_refuses_them() -> None:
    tree = recipes.loaded(recipes.render(REPOSITORY, "default"))
    tree["model"] = {"name": SMALL, "weights": None, "freeze": False}
    with pytest.raises(ParamsError, match=r"'timm/mobilenetv3_small_050\.lamb_in1k' was not proven portable"):
        parse_params(tree, "params.yaml")
