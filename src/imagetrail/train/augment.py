"""Augmentation of whole batches on the device, with random numbers for every image, by kornia."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from imagetrail.errors import TrainingError
from imagetrail.params.train import MIXING, Augment

REFUSALS = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)
"""What torch and Python raise for arguments that kornia does not take; kornia's own is BaseError."""


class Augmentation:
    """kornia's augmentations one after another; random numbers come from torch's current random state."""

    def __init__(self, transforms: Sequence[Augment], num_classes: int, seen: tuple[int, int]) -> None:
        """Build the transforms.

        Args:
            transforms: train.augment of params.yaml.
            num_classes: of the labels, for those that mix two images.
            seen: (height, width) of what the network sees, which a transform may crop larger images to.

        Raises:
            TrainingError: kornia rejects an argument.
        """
        self._num_classes, self._seen = num_classes, seen
        self._transforms = [_build(transform.name, transform.arguments) for transform in transforms]

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: float32 [N,C,H,W], pixels in [0, 1].
            labels: int64 [N].

        Returns:
            (images as before, or of the size that the network sees; labels as before, or float32 [N,K] shares where
            images are mixed).

        Raises:
            TrainingError: a transform changes the size of the images to another.
        """
        targets = labels
        for transform in self._transforms:
            before = images.shape
            if type(transform).__name__ in MIXING:
                images, pairs = _applied(transform, images, labels)
                targets = self._shares(pairs.reshape(-1, 3), is_cut=type(transform).__name__ == "RandomCutMixV2")
            else:
                images = _applied(transform, images)
            if images.shape != before and images.shape[2:] != self._seen:
                raise TrainingError(
                    f"train.augment.{type(transform).__name__} turns images of {tuple(before[2:])} pixels into "
                    f"{tuple(images.shape[2:])}, and the network sees {self._seen}; give it that size."
                )
        return images, targets

    def _shares(self, pairs: Tensor, *, is_cut: bool) -> Tensor:  # float [N,3]: label, other label, share -> [N,K]
        """Return the share of each class in mixed images; kornia's share is the other's in MixUp, the own in CutMix."""
        own, other = (functional.one_hot(pairs[:, i].long(), self._num_classes).float() for i in (0, 1))
        share = pairs[:, 2:].float()
        return torch.lerp(other, own, share) if is_cut else torch.lerp(own, other, share)


def _build(name: str, arguments: Mapping[str, object]) -> nn.Module:
    import kornia.augmentation  # takes a second, and only trainings that augment need it
    from kornia.core.exceptions import BaseError

    given = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    extra: dict[str, object] = {"data_keys": ["input", "class"]} if name in MIXING else {}
    if name == "RandomCutMixV2":
        extra["use_correct_lambda"] = True
    try:
        transform: nn.Module = getattr(kornia.augmentation, name)(**given, **extra)
    except (*REFUSALS, BaseError) as error:
        raise TrainingError(f"train.augment.{name} was refused by kornia: {error}") from None
    return transform


def _applied(transform: nn.Module, *batch: Tensor) -> Any:
    from kornia.core.exceptions import BaseError

    try:
        return transform(*batch)
    except (*REFUSALS, BaseError) as error:  # kornia checks some arguments only against images
        raise TrainingError(f"train.augment.{type(transform).__name__} was refused by kornia: {error}") from None
