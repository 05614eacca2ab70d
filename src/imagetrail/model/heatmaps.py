"""Heatmaps: the parts of an image that an answer comes from.

HiResCAM (Draelos and Carin, 2020) by captum: the gradient of the answer's logit times the activations of the last
feature maps, summed over their channels. It equals Grad-CAM (Selvaraju et al., ICCV, 2017) where the maps are averaged
before the last layer, and unlike it shows what the network used where they are not.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import LayerGradientXActivation
from PIL import Image
from torch import Tensor, nn

from imagetrail.errors import DataError
from imagetrail.files.arrays import Indices, Pixels
from imagetrail.model.classifier import Classifier

Heatmaps = npt.NDArray[np.float32]
FINE = 4
"""Least side of the maps, where a network has such: coarser ones show no place."""
BATCH = 32
TOKEN_MIXERS = ("Attention", "AttentionRope")
"""Attention of timm over all places; that of a window, as in Swin, keeps them apart."""


def heatmaps(classifier: Classifier, pixels: Pixels, codes: Indices) -> Heatmaps:
    """Show where the logit of a class comes from, on the CPU; of several views, in the image itself.

    Args:
        classifier: in evaluation mode.
        pixels: uint8 [N,C,H,W].
        codes: int64 [N], the class of each image.

    Returns:
        float32 [N,H,W], in [0, 1], 1 at the strongest place of each image; all 0 where nothing speaks for the class.

    Raises:
        DataError: the network has no feature maps.
    """
    classifier = classifier.cpu()
    layer = feature_layer(classifier, torch.from_numpy(pixels[:1]))
    explained = LayerGradientXActivation(lambda inputs: classifier.network(classifier.normalise(inputs)), layer)
    found = np.zeros((len(pixels), *pixels.shape[2:]), np.float32)
    seen = _seen_part(found[0], classifier.card.seen).shape if len(found) else ()
    for start in range(0, len(pixels), BATCH):
        part = slice(start, start + BATCH)
        inputs = (torch.from_numpy(pixels[part]) / 255).requires_grad_()
        target = torch.from_numpy(codes[part])
        maps = explained.attribute(inputs, target=target).detach().sum(dim=1).clamp(min=0).numpy()
        for place, coarse in enumerate(maps, start=start):
            _seen_part(found[place], classifier.card.seen)[:] = _fitted(coarse, seen)
    return found


def _seen_part(image: Heatmaps, size: tuple[int, int]) -> Heatmaps:
    """Return the part of an image, [H,W], that a network sees which takes (height, width) from its centre."""
    top, left = (max(0, (whole - part) // 2) for whole, part in zip(image.shape, size, strict=True))
    return image[top : top + size[0], left : left + size[1]]


def _fitted(coarse: Heatmaps, size: tuple[int, ...]) -> Heatmaps:
    """Enlarge a map to (height, width), by Pillow, whose sums are the same on every processor."""
    large = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    values: Heatmaps = np.asarray(large, np.float32)
    return values / max(float(values.max()), float(np.finfo(np.float32).tiny))


@torch.no_grad()
def feature_layer(classifier: Classifier, pixels: Tensor) -> nn.Module:
    """Return the last layer whose output is feature maps, [N,C,H,W].

    Args:
        classifier: in evaluation mode.
        pixels: uint8 [1,C,H,W], any image.

    Raises:
        DataError: there is none, or attention mixes the places after the last one.
    """
    found: list[tuple[int, nn.Module]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, nn.MultiheadAttention) or type(module).__name__ in TOKEN_MIXERS:
            found.clear()
        elif isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
            found.append((min(output.shape[2:]), module))

    hooks = [module.register_forward_hook(note) for module in classifier.network.modules()]
    try:
        classifier(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise DataError(f"{classifier.card.name} has no feature maps, so its answers have no place in an image.")
    fine = [module for side, module in found if side >= FINE]
    return fine[-1] if fine else found[-1][1]
