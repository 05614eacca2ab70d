"""Heatmaps: what they mark in a network whose reasons are known, and which networks have none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import CARD, make_subset
from torch import nn

from imagetrail.compare import page
from imagetrail.errors import DataError
from imagetrail.evaluate import explanation
from imagetrail.evaluate.explanation import Explanation
from imagetrail.evaluate.inference import Predictions
from imagetrail.model.classifier import Classifier
from imagetrail.model.heatmaps import heatmaps
from imagetrail.model.probabilities import of_batches

SIDE = 8


class Corners(nn.Module):
    """Answers `a` by the light in the upper left quarter, `b` by that in the lower right, and sees no other place."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 1, 1, bias=False)
        self.last = nn.Linear(SIDE * SIDE, 3)
        weights = torch.zeros(3, SIDE, SIDE)
        weights[0, : SIDE // 2, : SIDE // 2] = weights[1, SIDE // 2 :, SIDE // 2 :] = 1
        with torch.no_grad():
            self.maps.weight.fill_(1)
            self.last.weight.copy_(weights.flatten(1))
            self.last.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.maps(images).flatten(1))
        return found


@pytest.fixture
def corners() -> Classifier:
    model = Classifier(replace(CARD, image_size=[SIDE, SIDE], mean=[0.0] * 3, std=[1.0] * 3))
    model.network = Corners()
    return model.eval()


def test_heatmaps_mark_what_the_answer_depends_on(corners: Classifier) -> None:
    pixels = np.full((2, 3, SIDE, SIDE), 200, np.uint8)
    first, second = heatmaps(corners, pixels, np.array([0, 1]))
    half = SIDE // 2
    assert (first[:half, :half] == 1).all()
    assert first.sum() == half * half, "nothing else, although the maps are alike everywhere"
    assert (second[half:, half:] == 1).all()
    assert second.sum() == half * half
    assert not heatmaps(corners, pixels, np.array([2, 2])).any(), "nothing speaks for c"


def test_hiding_what_is_marked_costs_more_than_hiding_as_much_elsewhere(corners: Classifier) -> None:
    pixels = np.full((20, 3, SIDE, SIDE), 20, np.uint8)
    half = SIDE // 2
    pixels[:10, :, :half, :half] = pixels[10:, :, half:, half:] = 150
    labels = [0] * 10 + [1] * 10
    subset = make_subset(pixels, labels, list(range(20)), CARD.classes)
    probabilities = list(of_batches(corners, [pixels], torch.device("cpu")))
    predictions = Predictions.of(CARD.classes, subset.rows, subset.labels, probabilities)
    assert (predictions.predicted == subset.labels).all()
    found = explanation.explain(corners, subset, predictions, np.array([0, 19]), 1)
    assert isinstance(found, Explanation)
    assert found.heat.shape == (2, SIDE, SIDE)
    assert found.deletion.n == 20
    assert found.deletion.marked > 3 * found.deletion.elsewhere


def test_the_hidden_part_has_its_share_and_the_mean_colour() -> None:
    heat = np.random.default_rng(0).random((3, 10, 10)).astype(np.float32)
    mask = explanation.most_heated(heat)
    assert mask.sum(axis=(1, 2)).tolist() == [20, 20, 20]
    assert all(heat[n][mask[n]].min() > heat[n][~mask[n]].max() for n in range(3))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 10, 10), dtype=np.uint8)
    hidden = explanation.hide(pixels, mask)
    assert (hidden[0, 1][mask[0]] == round(pixels[0, 1].mean())).all()
    assert (hidden[0, 1][~mask[0]] == pixels[0, 1][~mask[0]]).all()


OURS = {
    "SmallCNN": {"widths": [4, 8], "dropout": 0.1},
    "TinyCNN": {"stem": 4, "widths": [4, 4], "repeats": [1, 2], "kernel_size": 3, "pool_before": [1]},
    "ResidualCNN": {"stem": 4, "widths": [4, 8], "blocks": [0, 1], "dropout": 0.0},
    "WhitenedCNN": {"widths": [4, 8], "convolutions": 3},
    "PlainCNN": {
        "widths": [4, 8], "padding": 1, "pool_after": [1], "batch_norm": False, "hidden": [5], "dropout": 0.0,
    },
}  # fmt: skip
FAMILIES = (
    "alexnet", "vgg11", "resnet18", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "shufflenet_v2_x0_5", "squeezenet1_1", "convnext_tiny",
    "swin_t", "maxvit_t",
)  # fmt: skip


@pytest.mark.parametrize("name", [*OURS, *FAMILIES])
def test_every_network_with_feature_maps_has_heatmaps(name: str) -> None:
    torch.manual_seed(0)
    size = [16, 16] if name in OURS else [96, 96]
    seen = [224, 224] if name == "maxvit_t" else None
    arguments = OURS.get(name, {"freeze": True})
    model = Classifier(replace(CARD, name=name, arguments=arguments, image_size=size, input_size=seen)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, *size), dtype=np.uint8)
    found = heatmaps(model, pixels, np.array([0, 1, 2, 0, 1, 2]))
    assert found.shape == (6, *size)
    assert np.isfinite(found).all()
    assert all(one.max() in (0, 1) for one in found)
    assert found.max() == 1, "something speaks for one of the classes"


@pytest.mark.parametrize(
    ("name", "arguments", "seen"),
    [("MLP", {"hidden": [5], "dropout": 0.0}, None), ("vit_b_16", {"freeze": False}, [224, 224])],
)
def test_a_network_without_feature_maps_says_so(name: str, arguments: dict, seen: list[int] | None) -> None:
    model = Classifier(replace(CARD, name=name, arguments=arguments, image_size=[16, 16], input_size=seen)).eval()
    reason = f"{name} has no feature maps, so its answers have no place in an image."
    with pytest.raises(DataError, match=f"^{reason}$"):
        heatmaps(model, np.zeros((1, 3, 16, 16), np.uint8), np.array([0]))
    assert page._heat(model, {"x.png": "a"}, {"x.png": np.zeros((1, 3, 16, 16), np.uint8)}) == reason


def test_heatmaps_explain_the_image_and_not_its_other_views(corners: Classifier) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, SIDE, SIDE), dtype=np.uint8)
    alone = heatmaps(corners, pixels, np.array([0]))
    corners.card = replace(corners.card, views="shifts")
    assert np.array_equal(heatmaps(corners, pixels, np.array([0])), alone)


def test_heat_is_only_where_the_network_looks() -> None:
    torch.manual_seed(0)
    model = Classifier(replace(CARD, image_size=[16, 12], input_size=[8, 8])).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 12), dtype=np.uint8)
    (found,) = heatmaps(model, pixels, np.array([0])) + heatmaps(model, pixels, np.array([1]))
    outside = found.copy()
    outside[4:12, 2:10] = 0
    assert found.max() > 0 and not outside.any()
