"""The versions of an image whose answers a model averages."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

Views = Literal["mirror", "shifts", "both"]
"""The image and its mirror image; the image and itself moved by a pixel each way; or these five and their mirrors."""


def views(images: Tensor, kind: Views) -> list[Tensor]:
    """Return the images, and then their other versions.

    Args:
        images: float32 [N,C,H,W].
        kind: which versions. Moved images repeat the pixels of their edge where they came from.
    """
    found = [images] if kind == "mirror" else _moved(images)
    return found if kind == "shifts" else [view for image in found for view in (image, image.flip(3))]


def _moved(images: Tensor) -> list[Tensor]:
    height, width = images.shape[2:]
    wider = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    corners = ((0, 1), (2, 1), (1, 0), (1, 2))
    return [images, *(wider[:, :, top : top + height, left : left + width] for top, left in corners)]
