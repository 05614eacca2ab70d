"""Compute the probabilities of classes, batch by batch: `evaluate`, `predict` and the logged model all use this."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from imagetrail.errors import ArtifactError
from imagetrail.files.arrays import Pixels
from imagetrail.model.classifier import Classifier
from imagetrail.model.feeds import moved

Probabilities = npt.NDArray[np.float64]


@torch.inference_mode()
def of_batches(classifier: Classifier, batches: Iterable[Pixels], device: torch.device) -> Iterator[Probabilities]:
    """Yield probabilities, float64 [b,K], of batches of uint8 [b,C,H,W]; always in float32 arithmetic.

    Raises:
        ArtifactError: a probability is not a number.
    """
    classifier = classifier.to(device)
    for (pixels,) in moved(((batch,) for batch in batches), device):
        probabilities: Probabilities = classifier(pixels).cpu().double().softmax(dim=1).numpy()
        if not np.isfinite(probabilities).all():
            raise ArtifactError(
                "the model's answers are not numbers; its training diverged, so lower the learning rate."
            )
        yield probabilities
