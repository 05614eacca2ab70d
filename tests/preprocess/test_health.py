"""Thumbnails for the search of near duplicates."""

import numpy as np
import pytest
from PIL import Image

from imagetrail.preprocess import health


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 31, 50), (1, 5, 9), (3, 224, 160)])
def test_a_thumbnail_is_the_mean_of_equal_parts(channels: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, channels, height, width), dtype=np.uint8)
    weights = np.array([1.0] if channels == 1 else [0.2125, 0.7154, 0.0721])
    grey = np.tensordot(weights, pixels.astype(float), axes=(0, 1))
    for ours, image in zip(health._thumbnails(pixels), grey, strict=True):
        box = Image.fromarray(image.astype(np.float32)).resize((8, 8), Image.Resampling.BOX)
        if (
            min(height, width) >= 8 and height % 8 == 0 and width % 8 == 0
        ):  # elsewhere Pillow gives whole pixels to a part
            assert np.abs(ours - np.asarray(box)).max() <= 0.51
        assert ours.mean() == pytest.approx(image.mean(), abs=0.6), "every pixel has the same weight"


def test_images_with_equal_thumbnails_only_are_not_near_duplicates() -> None:
    """Thumbnails find pairs; the images decide."""
    y, x = np.mgrid[:32, :32]
    checks, stripes = ((x + y) % 2 * 2 - 1) * 60, (x % 2 * 2 - 1) * 60  # both vanish in a thumbnail
    slope = 70 + 3 * x
    pixels = np.stack([slope + checks, slope + stripes, (slope + checks) * 0.9]).astype(np.uint8)[:, np.newaxis]
    thumbnails = health._normal(health._thumbnails(pixels).reshape(3, -1).astype(np.float32))
    assert (thumbnails @ thumbnails.T).min() > health.ALIKE, "from afar all three are"
    assert [(row, other) for row, other, _ in health._alike(pixels, thumbnails)] == [(2, 0)]
