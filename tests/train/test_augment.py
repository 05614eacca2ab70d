"""Augmentation: per image, repeatable, and equal to what it replaces."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from imagetrail.errors import TrainingError
from imagetrail.params.train import Augment
from imagetrail.train.augment import Augmentation

IMAGES = torch.rand(16, 3, 12, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 4


def augmented(
    *transforms: dict, images: Tensor = IMAGES, labels: Tensor = LABELS, seed: int = 0, seen: tuple[int, int] = (12, 10)
) -> tuple[Tensor, Tensor]:
    augment = Augmentation([Augment.model_validate(transform) for transform in transforms], num_classes=4, seen=seen)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return augment(images, labels)


def test_each_image_gets_its_own_random_numbers() -> None:
    images, labels = augmented(
        {"name": "RandomAffine", "degrees": 20.0, "p": 1.0}, images=IMAGES[:1].expand(16, -1, -1, -1)
    )
    assert len({image.numpy().tobytes() for image in images}) == 16
    assert torch.equal(labels, LABELS)


def test_equal_seeds_give_equal_pixels() -> None:
    transforms = [{"name": "RandomHorizontalFlip"}, {"name": "ColorJitter", "brightness": 0.3}]
    assert torch.equal(augmented(*transforms)[0], augmented(*transforms)[0])
    assert not torch.equal(augmented(*transforms)[0], augmented(*transforms, seed=1)[0])


def test_a_flip_only_flips() -> None:
    images, _ = augmented({"name": "RandomHorizontalFlip", "p": 1.0})
    assert torch.equal(images, IMAGES.flip(3))


def test_transforms_apply_in_order() -> None:
    shrink = {"name": "RandomAffine", "degrees": 0.0, "scale": [0.5, 0.5], "p": 1.0}
    invert = {"name": "RandomInvert", "p": 1.0}
    assert augmented(shrink, invert)[0][0, 0, 0, 0] == 1  # the empty corner is inverted
    assert augmented(invert, shrink)[0][0, 0, 0, 0] == 0


def test_mnist_cnns_magnification_is_a_resized_centre_crop() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    cropped = Image.fromarray(levels).crop((3, 3, 25, 25)).resize((28, 28), Image.Resampling.BILINEAR)
    scale = 1.2727272727
    ours, _ = augmented(
        {"name": "RandomAffine", "degrees": 0.0, "scale": [scale, scale], "align_corners": True, "p": 1.0},
        images=torch.from_numpy(levels)[None, None] / 255,
        labels=LABELS[:1],
    )
    # Pillow repeats the edge of the crop where bilinear interpolation looks one pixel further.
    assert np.abs(ours[0, 0].numpy() * 255 - np.asarray(cropped))[1:-1, 1:-1].max() < 1


@given(seed=st.integers(0, 50))
def test_mixed_labels_match_the_share_of_pixels(seed: int) -> None:
    """With image i all of the value i, a mixture's mean says how much of which image is in it."""
    values = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 12, 10)
    for name in ("RandomMixUpV2", "RandomCutMixV2"):
        images, shares = augmented({"name": name}, images=values, labels=torch.arange(4), seed=seed)
        assert shares.sum(dim=1).tolist() == pytest.approx([1.0] * 4)
        assert (shares @ torch.arange(4.0)).tolist() == pytest.approx(images.mean(dim=(1, 2, 3)).tolist(), abs=1e-5)
        own = shares[torch.arange(4), torch.arange(4)]
        assert ((shares > 0).sum(dim=1) <= 2).all()
        assert (own >= 0).all()


def test_labels_stay_whole_when_no_mixture_is_drawn() -> None:
    for name in ("RandomMixUpV2", "RandomCutMixV2"):
        images, shares = augmented({"name": name, "p": 0.0})
        assert torch.equal(images, IMAGES)
        assert torch.equal(shares, torch.nn.functional.one_hot(LABELS, 4).float())


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"name": "RandomCrop", "size": [8, 8]}, r"turns images of \(12, 10\) pixels into \(8, 8\)"),
        ({"name": "RandomRain", "p": 1.0}, r"RandomRain was refused by kornia: Height of drop"),
        ({"name": "RandomAffine", "degrees": -3.0}, r"train\.augment\.RandomAffine was refused by kornia"),
    ],
)
def test_impossible_augmentations_are_reported(transform: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        augmented(transform)


@pytest.mark.parametrize("name", ["RandomResizedCrop", "RandomCrop"])
def test_crops_of_larger_images_have_the_size_that_the_network_sees(name: str) -> None:
    """And each has its own place: detail that was there before, not magnified blur."""
    coordinates = torch.arange(120.0).reshape(1, 1, 12, 10).expand(16, 3, 12, 10) / 120
    images, _ = augmented({"name": name, "size": [6, 5], "p": 1.0}, images=coordinates, seen=(6, 5))
    assert images.shape == (16, 3, 6, 5)
    assert len({image.numpy().tobytes() for image in images}) > 8
    if name == "RandomCrop":
        steps = images[:, :, :, 1:] - images[:, :, :, :-1]
        assert torch.allclose(steps, torch.tensor(1 / 120), atol=1e-5), "pixels are copied"
    with pytest.raises(TrainingError, match=r"into \(6, 5\), and the network sees \(12, 10\); give it that size"):
        augmented({"name": name, "size": [6, 5], "p": 1.0}, images=coordinates)
