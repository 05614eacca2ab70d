"""Ask the images whether mirroring keeps their class: that of a letter, a digit or an arrow changes."""

import numpy as np
import numpy.typing as npt

from imagetrail.files.arrays import Pixels

THUMBNAIL = 12
"""Side in pixels of what is compared."""
FEWEST = 50
"""Images without which nothing is decided."""
LOSS = 0.05
"""Largest loss of accuracy by mirroring."""
ALIKE_FRAMES = 0.97
"""Correlation above which two images are one picture, or frames of one film, which say nothing of their class."""


def may_flip(thumbnails: Pixels, labels: npt.NDArray[np.str_]) -> tuple[bool, str]:
    """Decide whether horizontal flips suit a data set, and say why.

    The nearest other image names the class of each; then the nearest mirrored one does. Where mirrored images are as
    good, mirroring keeps the class. Rows of the test take no part.

    Args:
        thumbnails: uint8 [n,3,THUMBNAIL,THUMBNAIL].
        labels: [n], class names.
    """
    if len(labels) < FEWEST:
        return False, f"no flips, as {len(labels)} images are too few to tell whether they would change classes"
    plain, mirrored = (_accuracy(thumbnails, others, labels) for others in (thumbnails, thumbnails[:, :, :, ::-1]))
    noise = 2 * np.sqrt(2 * plain * (1 - plain) / len(labels))
    kept = mirrored >= plain - max(LOSS * plain, noise)
    figures = f"the nearest image has the class of {plain:.0%}, the nearest mirrored one of {mirrored:.0%}"
    return bool(kept), f"{'flips' if kept else 'no flips'}, as {figures}"


def _accuracy(images: Pixels, others: Pixels, labels: npt.NDArray[np.str_]) -> float:
    """Return how often the most alike of `others`, but for itself, has the class of an image."""
    left, right = (_normal(pixels) for pixels in (images, others))
    likeness = left @ right.T
    np.fill_diagonal(likeness, -np.inf)
    likeness[likeness > ALIKE_FRAMES] = -np.inf
    return float((labels[likeness.argmax(axis=1)] == labels).mean())


def _normal(pixels: Pixels) -> npt.NDArray[np.float32]:
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    normal: npt.NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return normal
