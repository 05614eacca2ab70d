"""The versions of an image whose answers a model averages."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

Views = Literal["mirror", "shifts"]
"""The image and its mirror image; or the image and itself moved by a pixel each way."""


def views(images: Tensor, kind: Views) -> list[Tensor]:
    """Return the images, and then their other versions.

    Args:
        images: float32 [N,C,H,W].
        kind: which versions. Moved images repeat the pixels of their edge where they came from.
    """
    if kind == "mirror":
        return [images, images.flip(3)]
    height, width = images.shape[2:]
    wider = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    corners = ((0, 1), (2, 1), (1, 0), (1, 2))
    return [images, *(wider[:, :, top : top + height, left : left + width] for top, left in corners)]
