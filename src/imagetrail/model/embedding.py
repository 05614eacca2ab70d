"""The features of images: what a network's last linear layer gets, averaged over the views of an image."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from imagetrail.files.arrays import Pixels
from imagetrail.model.classifier import Classifier
from imagetrail.model.feeds import moved

Features = npt.NDArray[np.float32]


@torch.inference_mode()
def embed(classifier: Classifier, batches: Iterable[Pixels], device: torch.device) -> Iterator[Features]:
    """Yield the features, float32 [b,D], of batches of uint8 [b,C,H,W]."""
    caught: list[Tensor] = []
    last = [module for module in classifier.network.modules() if isinstance(module, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    classifier = classifier.to(device)
    try:
        for (pixels,) in moved(((batch,) for batch in batches), device):
            classifier(pixels)
            yield torch.stack(caught).mean(dim=0).flatten(1).float().cpu().numpy()  # one for each view
            caught.clear()
    finally:
        hook.remove()
