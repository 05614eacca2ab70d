"""Networks of timm by their own names, such as `timm/convnext_tiny.fb_in22k`; timm is an optional extra."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from imagetrail.errors import TrainingError
from imagetrail.files.artifacts import TIMM

if TYPE_CHECKING:
    import types


def build(architecture: str, image_size: tuple[int, int]) -> tuple[nn.Module, tuple[str, ...], int]:
    """Build a network without its last layer, with random weights.

    Args:
        architecture: with the prefix; the tag behind the point chooses a configuration.
        image_size: (height, width) in pixels of what the network sees.

    Returns:
        (network that returns features float32 [N,D], names of the layers that are left out, D).

    Raises:
        TrainingError: timm is not installed, or does not know the name.
    """
    config = _configuration(architecture)
    sized: Mapping[str, Any] = {"img_size": image_size} if config.fixed_input_size else {}
    network = _timm(architecture).create_model(architecture.removeprefix(TIMM), num_classes=0, **sized)
    width = getattr(network, "head_hidden_size", None) or network.num_features
    left_out = config.classifier  # two in distilled transformers
    return network, (left_out,) if isinstance(left_out, str) else tuple(left_out), int(width)


def normalisation(architecture: str) -> tuple[list[float], list[float]]:
    """Return the (mean, std) of each channel, for pixels in [0, 1], of the weights that a name's tag means."""
    config = _configuration(architecture)
    return list(config.mean), list(config.std)


def size(architecture: str) -> list[int]:
    """Return [height, width] in pixels that the weights were trained for."""
    return list(_configuration(architecture).input_size[1:])


def _configuration(architecture: str) -> Any:
    timm = _timm(architecture)
    try:
        config = timm.get_pretrained_cfg(architecture.removeprefix(TIMM), allow_unregistered=False)
    except RuntimeError as error:
        raise TrainingError(f"model.name = {architecture!r} is not known to timm ({error}); correct it.") from None
    return config


def _timm(architecture: str) -> "types.ModuleType":
    try:
        import timm
    except ImportError:
        raise TrainingError(f"model.name = {architecture!r} needs timm; run `pip install timm`.") from None
    return timm
