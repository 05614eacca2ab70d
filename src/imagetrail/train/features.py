"""Compute a frozen backbone's features of every image once, and keep them on disk.

The file is named after everything that determines its values: pixels, weights, architecture, normalisation, input size.
The head is not part of that, so another head, schedule or split reuses the features.
"""

import hashlib
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from imagetrail.console import progress
from imagetrail.files import artifacts
from imagetrail.files.arrays import Subset
from imagetrail.model import devices
from imagetrail.model.classifier import Card, Classifier
from imagetrail.model.feeds import moved
from imagetrail.model.networks import backbone
from imagetrail.model.networks.backbone import Backbone

FEATURES = Path(".imagetrail/features")
FEATURE_BLOCK = 64
"""Rows that are computed together, always in the same blocks, so that the last bits do not depend on which subset came
first."""


def of_backbone(root: Path, classifier: Classifier, subsets: list[Subset]) -> list[Subset]:
    """Return the subsets with features, float32 [N,D], in place of pixels.

    Args:
        root: the repository's root; the features are below its workspace.
        classifier: with a frozen Backbone, on the device that computes.
        subsets: of one data set.
    """
    network = classifier.network
    assert isinstance(network, Backbone) and network.frozen
    whole = subsets[0]
    device = next(classifier.parameters()).device
    folder = artifacts.workspace(root) / FEATURES / _key(classifier.card, whole, device)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        blocks = -(-len(whole.images) // FEATURE_BLOCK)
        done = _open(folder / "done.npy", (blocks,), np.bool_)
        features = _open(folder / "features.npy", (len(whole.images), network.head.in_features), np.float32)
        missing = np.flatnonzero(~done).tolist()
        starts = [number * FEATURE_BLOCK for number in missing]
        loaded = moved(((np.array(whole.images[start : start + FEATURE_BLOCK]),) for start in starts), device)
        for number in progress(missing, total=len(missing), description="features", unit="block"):
            start, (pixels,) = number * FEATURE_BLOCK, next(loaded)
            features[start : start + FEATURE_BLOCK] = _compute(classifier, network, pixels)
            features.flush()
            done[number] = True
            done.flush()
    return [replace(subset, images=features) for subset in subsets]


@torch.inference_mode()
def _compute(classifier: Classifier, network: Backbone, pixels: Tensor) -> npt.NDArray[np.float32]:
    """Compute in float32 whatever the training's precision, as evaluation does."""
    classifier.eval()
    features = classifier.over_views(network.features, classifier.normalise(pixels))
    values: npt.NDArray[np.float32] = features.float().cpu().numpy()
    return values


def _open(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.memmap:
    if not path.is_file():
        with artifacts.writing(path) as temporary:
            np.lib.format.open_memmap(temporary, "w+", dtype, shape).flush()
    return np.lib.format.open_memmap(path, "r+")


def _timm_version(card: Card) -> str:
    return version("timm") if card.name.startswith(artifacts.TIMM) else ""


def _key(card: Card, subset: Subset, device: torch.device) -> str:
    architecture = {"name": card.name, "input_size": card.seen, "views": card.views, "weights": card.weights}
    pixels = [subset.dataset.sha256, card.mean, card.std]
    machine = [torch.__version__, _timm_version(card), devices.describe(device), torch.get_num_threads()]
    source = [artifacts.file_sha256(Path(file)) for file in (__file__, backbone.__file__)]
    key = json.dumps([architecture, pixels, machine, source], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:32]
