"""Thumbnails for the search of near duplicates."""

import numpy as np
import pytest
from PIL import Image

from imagetrail import health


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
