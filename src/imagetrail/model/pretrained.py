"""Load weights of an earlier training into a network; a last layer of another shape starts from random weights."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from imagetrail.errors import TrainingError

AUXILIARY = re.compile(r"(AuxLogits|aux\d)\.")
"""Heads of inception_v3 and googlenet that only their original training uses."""


def load(network: nn.Module, path: Path) -> None:
    """Copy weights into a network, in its own precision.

    Args:
        network: one of model/networks.
        path: a file of torch.save, read with `weights_only`, or a .safetensors file; keys as the network has them,
            as torchvision has them for a backbone, or as models/model.safetensors has them.

    Raises:
        TrainingError: the file holds no weights, or those of another network.
    """
    own, head = network.state_dict(), _head(network)
    given = {_own_name(network, name): value for name, value in _read(path).items() if not AUXILIARY.match(name)}
    wrong = [name for name in given.keys() & own.keys() if given[name].shape != own[name].shape]
    unused = [name for name in wrong if name.startswith(head)]  # a head of other classes
    for replaced in getattr(network, "replaced", ()):
        unused += [name for name in given if name.startswith(f"backbone.{replaced}.")]
    fitting = {name: value for name, value in given.items() if name not in unused}
    strange = sorted(fitting.keys() - own.keys())
    missing = sorted(name for name in own.keys() - fitting.keys() if not name.startswith(head))
    misshapen = sorted(set(wrong) - set(unused))
    if strange or missing or misshapen:
        example = (misshapen or strange or missing)[0]
        raise TrainingError(
            f"model.weights: {path.name} does not fit the network: {len(missing)} of its tensors are missing in the "
            f"file, {len(strange)} are unknown and {len(misshapen)} have another shape (first {example!r}); give the "
            "weights of the same architecture."
        )
    network.load_state_dict(fitting, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise a dozen kinds of exceptions on foreign files
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(
            f"model.weights: {path.name} cannot be read as tensors ({reason[0]}); give a file that torch.save or "
            "safetensors wrote of a state_dict."
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise TrainingError(f"model.weights: {path.name} holds no state_dict; save only network.state_dict().")
    return found


def _own_name(network: nn.Module, name: str) -> str:
    """Translate a tensor's name in the file (the network's, torchvision's or model.safetensors') to the network's."""
    if name.startswith("network."):
        return name.removeprefix("network.")
    return f"backbone.{name}" if hasattr(network, "backbone") else name


def _head(network: nn.Module) -> str:
    """Return the prefix of the last layer's tensors."""
    if isinstance(getattr(network, "head", None), nn.Module):
        return "head."
    return [str(name) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1] + "."
