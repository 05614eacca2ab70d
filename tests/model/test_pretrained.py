"""Pretrained weights: found, checked, put in; and features of a frozen backbone that equal the whole way."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from samples import make_subset, options
from support import need
from torch import nn

from imagetrail.download import weights
from imagetrail.errors import DataError, TrainingError
from imagetrail.files.arrays import Subset
from imagetrail.files.artifacts import Weights, file_sha256
from imagetrail.model import networks, pretrained
from imagetrail.params.model import Model
from imagetrail.params.train import Normalisation
from imagetrail.train import features, loop, normalisation
from imagetrail.train.checkpoints import Checkpoints

MOBILE = "mobilenet_v2-b0353104.pth"


@pytest.fixture
def folder(test_data: Path) -> Path:
    need((test_data / "weights" / MOBILE).is_file(), f"weights/{MOBILE} in IMAGETRAIL_TEST_DATA")
    return test_data / "weights"


def test_no_weights_are_needed_without_a_name(tmp_path: Path) -> None:
    assert weights.find(None, tmp_path, tmp_path) is None


def test_local_weights_are_used_in_place(folder: Path, tmp_path: Path) -> None:
    found = weights.find(MOBILE, folder, tmp_path)
    assert found == Weights(MOBILE, MOBILE, fetched=False, sha256=file_sha256(folder / MOBILE))
    assert list(tmp_path.iterdir()) == []
    assert found.path(tmp_path, str(folder)) == folder / MOBILE


def test_torchvisions_weight_names_find_their_files(folder: Path, tmp_path: Path) -> None:
    found = weights.find("MobileNet_V2_Weights.IMAGENET1K_V1", folder, tmp_path)
    assert found is not None
    assert (found.file, found.fetched) == (MOBILE, False)


@pytest.mark.slow
def test_without_a_network_the_error_names_file_and_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError) as error:
        weights.find("ResNet152_Weights.IMAGENET1K_V2", tmp_path / "weights", tmp_path / "raw")
    message = str(error.value)
    assert "model.weights = 'ResNet152_Weights.IMAGENET1K_V2' could not be fetched" in message
    assert "get https://download.pytorch.org/models/resnet152-f82ba261.pth where there is a network" in message
    assert f"put resnet152-f82ba261.pth into {(tmp_path / 'weights').as_posix()}, and repeat." in message
    assert list((tmp_path / "raw").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilnet.pth", r"'mobilnet\.pth' is not in download\.weights = '.*'; did you mean 'mobilenet\.pth'\?"),
        ("../other.pth", r"'\.\./other\.pth' is outside download\.weights"),
        ("damaged-0123abcd.pth", r"damaged-0123abcd\.pth has sha256 .* and its name promises 0123abcd"),
        ("Nothing_Weights.V1", "'Nothing_Weights.V1' is not known to torchvision"),
    ],
)
def test_unobtainable_weights_are_reported(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "local").mkdir()
    for file in ("local/mobilenet.pth", "local/damaged-0123abcd.pth", "other.pth"):
        (tmp_path / file).write_bytes(b"no weights")
    with pytest.raises(DataError, match=message):
        weights.find(name, tmp_path / "local", tmp_path)


def test_a_file_changed_since_download_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"one")
    found = weights.find("a.pth", tmp_path, tmp_path)
    (tmp_path / "a.pth").write_bytes(b"two")
    assert found is not None
    with pytest.raises(Exception, match=r"a\.pth has changed since `download` found it"):
        found.path(tmp_path, ".")


def backbone(architecture: str = "mobilenet_v2", *, classes: int = 3) -> nn.Module:
    return networks.build(architecture, 3, (64, 64), classes, {"freeze": True})


def test_torchvisions_weights_give_torchvisions_answers(folder: Path) -> None:
    """The backbone of our network says what torchvision's own class says before its last layer."""
    from torchvision.models import mobilenet_v2

    ours = backbone()
    pretrained.load(ours, folder / MOBILE)
    theirs = mobilenet_v2()
    theirs.load_state_dict(torch.load(folder / MOBILE, weights_only=True))
    theirs.classifier[1] = nn.Identity()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.eval().features(images), theirs.eval()(images))


def test_half_precision_files_load_into_float32_networks(test_data: Path) -> None:
    network = backbone("resnet50")
    pretrained.load(network, test_data / "weights/resnet50-imagenet-fp16.pth")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert network.backbone.conv1.weight.std() > 0.05


def test_our_own_networks_start_from_a_file_with_other_classes(tmp_path: Path) -> None:
    arguments = {"widths": [4, 8], "dropout": 0.0}
    earlier = networks.build("SmallCNN", 1, (8, 8), 5, arguments)
    save_file({f"network.{name}": value for name, value in earlier.state_dict().items()}, tmp_path / "m.safetensors")
    later = networks.build("SmallCNN", 1, (8, 8), 2, arguments)
    head = later.head.weight.clone()
    pretrained.load(later, tmp_path / "m.safetensors")
    assert torch.equal(later.blocks[0][0].weight, earlier.blocks[0][0].weight)
    assert torch.equal(later.head.weight, head)


def test_weights_of_another_network_are_rejected(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=rf"{MOBILE} does not fit the network: .* missing .* unknown"):
        pretrained.load(backbone("resnet18"), folder / MOBILE)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(TrainingError, match=r"text\.pth cannot be read as tensors"):
        pretrained.load(backbone(), tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(TrainingError, match=r"list\.pth holds no state_dict"):
        pretrained.load(backbone(), tmp_path / "list.pth")


def test_pickles_with_code_are_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(TrainingError, match=r"evil\.pth cannot be read as tensors"):
        pretrained.load(backbone(), tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


# --- frozen backbones -------------------------------------------------------------------------------------------------


@pytest.fixture
def subsets() -> tuple[Subset, Subset]:
    """Two classes by colour: red or blue images with noise, 70 of them, so that features take two blocks."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 70).tolist()
    images = random.integers(0, 100, (70, 3, 32, 32), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label] += 150
    images.setflags(write=False)  # as a memory map is
    both = ["red", "blue"]
    return make_subset(images, labels, list(range(50)), both), make_subset(images, labels, list(range(50, 70)), both)


def task(root: Path, folder: Path, subsets: tuple[Subset, Subset], **changes: object) -> loop.Task:
    model = {"name": "mobilenet_v2", "weights": MOBILE, "freeze": True, "input_size": 64} | changes
    found = weights.find(MOBILE, folder, root)
    card = normalisation.new_card(Model.model_validate(model), found, None, subsets[0])
    return loop.Task(card, folder / MOBILE, *subsets, root)


def fit(given: loop.Task, **changes: object) -> loop.Trained:
    chosen = options(**{"optimizer": {"name": "AdamW", "lr": 0.01}} | changes)
    return loop.fit(given, chosen, Checkpoints(given.root / "checkpoints"), lambda epoch, speed: None)


def test_pretrained_weights_bring_their_normalisation(folder: Path, tmp_path: Path, subsets) -> None:
    card = task(tmp_path, folder, subsets).card
    assert (card.mean, card.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert card.weights == {"name": MOBILE, "sha256": file_sha256(folder / MOBILE)}
    own = Normalisation(mean=[0.5] * 3, std=[0.25] * 3)
    model = Model(name="mobilenet_v2", weights=MOBILE, freeze=True)
    assert normalisation.new_card(model, weights.find(MOBILE, folder, tmp_path), own, subsets[0]).mean == [0.5] * 3


@pytest.mark.parametrize("views", [None, "mirror"])
def test_cached_features_give_the_logits_of_the_whole_network(
    folder: Path, tmp_path: Path, subsets, views: str | None
) -> None:
    trained = fit(task(tmp_path, folder, subsets, views=views))
    model, val = trained.classifier, subsets[1]
    by_features = features.of_backbone(tmp_path, model, [val])[0].images[val.rows]
    with torch.inference_mode():
        whole = model(torch.from_numpy(val.images[val.rows]))
        short = model.head(torch.from_numpy(by_features))
    assert torch.allclose(whole, short, atol=1e-5)
    assert trained.kept.val_accuracy == (whole.argmax(1).numpy() == val.labels[val.rows]).mean() > 0.8


def test_only_the_head_learns(folder: Path, tmp_path: Path, subsets) -> None:
    given = task(tmp_path, folder, subsets)
    before = torch.load(folder / MOBILE, weights_only=True)["features.0.0.weight"]
    network = fit(given).classifier.network
    assert torch.equal(network.backbone.features[0][0].weight, before)
    assert fit(given, seed=1).metrics()["parameters"] == sum(p.numel() for p in network.parameters())


def test_another_head_reuses_the_features(folder: Path, tmp_path: Path, subsets, monkeypatch) -> None:
    fit(task(tmp_path, folder, subsets))
    computed: list[int] = []
    compute = features._compute
    monkeypatch.setattr(features, "_compute", lambda *args: computed.append(1) or compute(*args))
    fit(task(tmp_path, folder, subsets), epochs=2, optimizer={"name": "SGD", "lr": 0.1})
    assert computed == []
    fit(task(tmp_path, folder, subsets, input_size=32))
    assert len(computed) == 2, "two blocks of 64 rows hold 70"


def test_an_interrupted_computation_resumes(folder: Path, tmp_path: Path, subsets, monkeypatch) -> None:
    compute, computed = features._compute, []

    def interrupted(*args: object) -> np.ndarray:
        if computed:
            raise KeyboardInterrupt
        computed.append(1)
        return compute(*args)

    monkeypatch.setattr(features, "_compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(task(tmp_path, folder, subsets))
    monkeypatch.setattr(features, "_compute", lambda *args: computed.append(1) or compute(*args))
    resumed = fit(task(tmp_path, folder, subsets))
    assert len(computed) == 2
    shutil.rmtree(tmp_path / features.FEATURES)
    again = fit(task(tmp_path, folder, subsets))
    assert resumed.history == again.history


def test_augmentation_trains_through_the_frozen_backbone(folder: Path, tmp_path: Path, subsets) -> None:
    trained = fit(task(tmp_path, folder, subsets), augment=[{"name": "RandomHorizontalFlip"}], epochs=2)
    assert not (tmp_path / features.FEATURES).exists()
    before = torch.load(folder / MOBILE, weights_only=True)["features.0.1.running_mean"]
    after = trained.classifier.network.backbone.features[0][1].running_mean
    assert torch.equal(before, after), "a frozen backbone keeps its statistics, too"


def test_changed_pixels_or_weights_recompute_features(folder: Path, tmp_path: Path, subsets) -> None:
    other = tuple(replace(subset, dataset=replace(subset.dataset, sha256="y")) for subset in subsets)
    given = task(tmp_path, folder, subsets)
    fit(given)
    fit(task(tmp_path, folder, other))
    fit(replace(given, card=replace(given.card, weights={"name": MOBILE, "sha256": "another"})))
    assert len(list((tmp_path / features.FEATURES).iterdir())) == 3
