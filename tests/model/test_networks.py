"""The networks: what they cost by hand, what they refuse, and every torchvision classifier with a new head."""

import pytest
import torch
from torch import nn

from imagetrail.errors import TrainingError
from imagetrail.model import networks
from imagetrail.model.costs import multiply_adds
from imagetrail.model.networks import NETWORKS
from imagetrail.model.networks.layers import ShiftNorm
from imagetrail.params.signatures import CLASSIFIERS, NETWORKS_HERE

PLAIN = {
    "widths": [32, 64, 128, 256], "padding": 0, "pool_after": [2, 4], "batch_norm": False, "hidden": [50],
    "dropout": 0.0,
}  # fmt: skip
TINY = {"stem": 11, "widths": [11, 22, 22], "repeats": [3, 1, 2], "kernel_size": 3, "pool_before": [2, 3]}
WHITENED = {"widths": [64, 256, 256], "convolutions": 2}
RESIDUAL = {"stem": 64, "widths": [128, 256, 512], "blocks": [1, 0, 1], "dropout": 0.0}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "arguments", "channels", "size", "parameters"),
    [
        # 1-32-64-128-256 with biases, 4096-50-10
        ("PlainCNN", PLAIN, 1, 28, 320 + 18_496 + 73_856 + 295_168 + 204_850 + 510),
        ("MLP", {"hidden": [512, 512], "dropout": 0.2}, 1, 28, 785 * 512 + 513 * 512 + 5130),
        ("MLP", {"hidden": [], "dropout": 0.0}, 3, 4, 490),
        # stem, three separable layers with a shift for each time, 7 + 7 weights for each channel, the head
        ("TinyCNN", TINY, 1, 28, 110 + 11 * (20 + 3) + (31 * 11 + 22) + 22 * (31 + 2) + 14 * 22 + 230),
        ("ResidualCNN", RESIDUAL, 3, 32, 6_573_130),
        # 24 filters with biases, six convolutions, a shift for each of their outputs, a head without biases
        (
            "WhitenedCNN",
            WHITENED,
            3,
            32,
            13 * 24 + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) + 2 * (64 + 256 + 256) + 2560,
        ),
    ],
)
def test_parameter_counts_match_a_calculation_by_hand(
    name: str, arguments: dict, channels: int, size: int, parameters: int
) -> None:
    network = networks.build(name, channels, (size, size), 10, arguments)
    assert count(network) == parameters
    assert network.eval()(torch.zeros(2, channels, size, size)).shape == (2, 10)


def test_mnist_cnn_has_593200_parameters() -> None:
    assert count(networks.build("PlainCNN", 1, (28, 28), 10, PLAIN)) == 593_200


def test_images_need_not_be_square() -> None:
    deeper = WHITENED | {"convolutions": 3}
    for name, arguments in (
        ("PlainCNN", PLAIN), ("TinyCNN", TINY), ("ResidualCNN", RESIDUAL), ("WhitenedCNN", deeper),
    ):  # fmt: skip
        assert networks.build(name, 3, (40, 24), 3, arguments).eval()(torch.zeros(2, 3, 40, 24)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("PlainCNN", PLAIN, r"image_size = 8 is too small for model\.widths = \[32, 64, 128, 256\]"),
        ("TinyCNN", TINY | {"pool_before": [1, 2, 3, 4]}, "image_size = 8 is too small for 4 poolings"),
        ("TinyCNN", TINY | {"kernel_size": 4}, r"model\.kernel_size = 4 must be odd"),
        ("TinyCNN", TINY | {"repeats": [1]}, r"model\.repeats = \[1\] must have a number for each"),
        ("TinyCNN", TINY | {"repeats": [1, 2, 1]}, "2 times, but it turns 11 channels into 22; repeat only those"),
        ("ResidualCNN", RESIDUAL | {"widths": [8] * 4, "blocks": [0] * 4}, "use at least 16, or fewer stages"),
        ("ResidualCNN", RESIDUAL | {"blocks": [1]}, r"model\.blocks = \[1\] must have a number for each"),
        ("WhitenedCNN", WHITENED, "image_size = 8 is too small for the 3 groups .* use at least 9, or fewer groups"),
        ("resnet18", {"freeze": False}, r"takes three channels and preprocess\.channels = 1; set it to 3"),
    ],
)
def test_unbuildable_models_are_reported(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        networks.build(name, 1, (8, 8), 10, arguments)


def test_a_convolution_that_repeats_equals_copies_of_it_one_after_the_other() -> None:
    torch.manual_seed(0)
    shape = {"stem": 4, "kernel_size": 3, "pool_before": []}
    repeated = networks.build("TinyCNN", 1, (8, 8), 3, shape | {"widths": [4], "repeats": [3]})
    copies = networks.build("TinyCNN", 1, (8, 8), 3, shape | {"widths": [4, 4, 4], "repeats": [1, 1, 1]})
    block = repeated.blocks[3]
    for layer in repeated.modules():
        if isinstance(layer, ShiftNorm):
            nn.init.normal_(layer.shift)
    copies.load_state_dict(repeated.state_dict(), strict=False)
    for copy, norm in zip(copies.blocks[3:], block.norms, strict=True):
        copy.mix.load_state_dict(block.mix.state_dict())
        copy.norms[0].load_state_dict(norm.state_dict())
    images = torch.randn(5, 1, 8, 8)
    assert torch.equal(repeated(images), copies(images))


def test_the_first_layer_whitens_the_patches_of_train_images() -> None:
    torch.manual_seed(0)
    network = networks.build("WhitenedCNN", 3, (32, 32), 10, WHITENED)
    smooth = nn.functional.interpolate(torch.randn(200, 3, 9, 7), scale_factor=3, mode="bilinear")  # [200,3,27,21]
    network.prepare(smooth.split(64))
    with torch.no_grad():
        found = network.whitening(smooth).transpose(0, 1).flatten(1)  # [24,patches]
    moments = found[:12] @ found[:12].T / found.shape[1]
    variances = moments.diagonal()
    assert torch.allclose(moments, torch.diag(variances), atol=1e-4), "components do not depend on each other"
    assert variances.max() < 1.001
    assert variances.median() > 0.5, "but for those below the added variance, all are as large"
    assert torch.equal(network.whitening.weight[12:], -network.whitening.weight[:12])
    assert not network.whitening.weight.requires_grad


def test_shifts_learn_64_times_as_fast() -> None:
    network = networks.build("WhitenedCNN", 3, (32, 32), 10, WHITENED)
    layer = network.groups[0].first[2]
    images = torch.randn(8, 64, 5, 5)
    weights = torch.randn(8, 64, 5, 5)
    (layer(images) * weights).sum().backward()
    before, by_hand = layer(images), weights.sum(dim=(0, 2, 3))  # the gradient of a shift
    with torch.no_grad():
        layer.shift -= 0.01 * layer.shift.grad
    moved = (layer(images) - before).mean(dim=(0, 2, 3))
    assert torch.allclose(moved, -64 * 0.01 * by_hand, rtol=1e-3, atol=1e-3)


def test_convolutions_start_as_copies() -> None:
    network = networks.build("WhitenedCNN", 3, (32, 32), 10, WHITENED)
    images = torch.randn(2, 24, 9, 9)
    copies = network.groups[0].first[0](images)[:, :24]
    assert torch.allclose(copies, images, atol=1e-6)


def test_params_accept_exactly_the_networks() -> None:
    assert NETWORKS.keys() | {"Backbone"} == NETWORKS_HERE.names()


def test_multiply_adds_match_a_calculation_by_hand() -> None:
    class Pixels(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.network(pixels.float())

    convolutions = 26**2 * 9 * 32 + 24**2 * 9 * 32 * 64 + 10**2 * 9 * 64 * 128 + 8**2 * 9 * 128 * 256
    plain = Pixels(networks.build("PlainCNN", 1, (28, 28), 10, PLAIN))
    assert multiply_adds(plain, 1, (28, 28)) == convolutions + 4096 * 50 + 50 * 10
    assert plain.training, "the mode is put back"
    with pytest.raises(TrainingError, match=r"cannot take images of 20 x 20 pixels .*set preprocess\.image_size"):
        multiply_adds(plain, 1, (20, 20))


LARGE_REGNETS = {name for name in CLASSIFIERS.names() if name.startswith("regnet") and not name.endswith("400mf")}
"""Up to 2.5 GB of weights, which RegNet really draws; the smallest of each kind has the same layers."""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(CLASSIFIERS.names() - LARGE_REGNETS))
def test_every_torchvision_classifier_takes_a_new_head(architecture: str) -> None:
    device = "cpu" if architecture.startswith("regnet") else "meta"  # RegNet reads weights to draw them
    side = 299 if architecture == "inception_v3" else 224
    with torch.device(device):
        network = networks.build(architecture, 3, (side, side), 7, {"freeze": True}).train()
        assert network(torch.zeros(2, 3, side, side)).shape == (2, 7)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {"head.weight", "head.bias"}
    assert not network.backbone.training
    assert network.head.training
