"""Pretrained weights: a local file, or one of torchvision's, found locally or fetched."""

import re
from pathlib import Path
from urllib.error import URLError

from imagetrail.console import warn
from imagetrail.errors import DataError, nearest
from imagetrail.files.artifacts import TIMM, Weights, file_sha256


def find(name: str | None, local: Path, folder: Path) -> Weights | None:
    """Find the weights that params.yaml names; a local file is used in place.

    Args:
        name: a file in `local`, torchvision's name (`ResNet50_Weights.IMAGENET1K_V2`), a repository of timm's hub
            (`timm/convnext_tiny.fb_in22k`), or None for no weights.
        local: the folder download.weights, looked into before the network.
        folder: data/pretrained under its temporary name, for what is fetched.

    Raises:
        DataError: no such file, or it cannot be fetched, or its bytes are not those that its name promises.
    """
    if name is None:
        return None
    if name.startswith(TIMM) and not (local / name).is_file():
        return _of_hub(name, folder, local)
    if "_Weights." not in name:
        return _local(name, local / name, local)
    from torchvision import models  # importing torch takes seconds, but only torchvision knows the address

    try:
        address = str(models.get_weight(name).url)  # type: ignore[attr-defined]
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"model.weights = {name!r} is not known to torchvision ({error}).") from None
    file = address.rpartition("/")[2]
    if (local / file).is_file():
        return _local(name, local / file, local)
    warn(f"{file} is not in download.weights = {local.as_posix()!r}; it is fetched from {address}")
    _fetch(name, address, folder / file, local)
    return Weights(name, file, fetched=True, sha256=_checked(folder / file))


def _of_hub(name: str, folder: Path, local: Path) -> Weights:
    """Fetch weights by timm's own code, which keeps what it fetched in the hub's cache."""
    try:
        from timm.models import load_state_dict_from_hf
    except ImportError:
        raise DataError(f"model.weights = {name!r} needs timm; run `pip install timm`.") from None
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from safetensors.torch import save_file

    file = folder / f"{name.replace('/', '-')}.safetensors"
    try:
        weights = load_state_dict_from_hf(name, weights_only=True)
        save_file({key: tensor.contiguous() for key, tensor in weights.items()}, file)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"model.weights = {name!r} could not be fetched ({reason}); get model.safetensors of that repository where "
            f"there is a network, put it into {local.as_posix()}, and set model.weights to its name there."
        ) from None
    return Weights(name, file.name, fetched=True, sha256=file_sha256(file))


def _local(name: str, path: Path, local: Path) -> Weights:
    if not path.resolve().is_relative_to(local.resolve()):
        raise DataError(f"model.weights = {name!r} is outside download.weights = {local.as_posix()!r}; copy it in.")
    if not path.is_file():
        present = sorted(p.name for p in local.iterdir() if not p.name.startswith(".")) if local.is_dir() else []
        hint = nearest(name, present) if present else "the folder is empty"
        raise DataError(f"model.weights = {name!r} is not in download.weights = {local.as_posix()!r}; {hint}")
    return Weights(name, path.relative_to(local).as_posix(), fetched=False, sha256=_checked(path))


def _fetch(name: str, address: str, path: Path, local: Path) -> None:
    from torch.hub import download_url_to_file

    try:
        download_url_to_file(address, str(path), progress=True)
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"model.weights = {name!r} could not be fetched ({reason}); get {address} where there is a network, put "
            f"{path.name} into {local.as_posix()}, and repeat."
        ) from None


def _checked(path: Path) -> str:
    """Return the file's sha256, and check it against the start that torchvision puts in the file's name."""
    sha256 = file_sha256(path)
    promised = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if promised and not sha256.startswith(promised[1]):
        raise DataError(
            f"{path.name} has sha256 {sha256[:8]}… and its name promises {promised[1]}; it is damaged: fetch it again."
        )
    return sha256
