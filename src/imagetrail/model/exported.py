"""Export a classifier with torch.export, and read the weights of such an archive (.pt2) without running what it holds.

`torch.export.load` unpickles unknown values and compiles code from the archive, so a hostile file can run code. The
weights are plain bytes listed in a JSON table; `read_weights` reads only those two.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagetrail.errors import ArtifactError
from imagetrail.model.classifier import Classifier, ProbabilityModel

WEIGHTS_TABLE = "/data/weights/model_weights_config.json"
DTYPES = {5: torch.int64, 7: torch.float32}
"""By their numbers in torch's schema (torch._export.serde.schema.ScalarType); a classifier has no others."""


def write(classifier: Classifier, path: Path, example: npt.NDArray[np.uint8], device: torch.device) -> None:
    """Export a classifier, which moves to the device, as a program that returns probabilities there.

    Args:
        classifier: any.
        path: the .pt2 file.
        example: uint8 [2,C,H,W]; with one image the number of images would be fixed in the program.
        device: an exported program cannot change it.
    """
    module = exportable(classifier).to(device)
    images = torch.from_numpy(example).to(device)
    torch.export.save(torch.export.export(module, (images,), dynamic_shapes=[{0: torch.export.Dim.AUTO}]), path)


def exportable(classifier: Classifier) -> ProbabilityModel:
    """Wrap a classifier for export, which keeps a weight only where it is contiguous; the values are the same."""
    return ProbabilityModel(classifier).eval().to(memory_format=torch.contiguous_format)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict of an exported program.

    Args:
        path: a .pt2 file.

    Returns:
        Contiguous tensors on the CPU, by the names that they had in the module.

    Raises:
        ArtifactError: the file is not such an archive, is damaged, or holds anything but plain float32 and int64
            tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (table,) = (name for name in archive.namelist() if name.endswith(WEIGHTS_TABLE))
            folder = table.rpartition("/")[0]
            entries = json.loads(archive.read(table))["config"]
            return {name: _tensor(archive, f"{folder}/{entry['path_name']}", entry) for name, entry in entries.items()}
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ArtifactError(f"{path.name} holds no plain weights ({error}); log the model again.") from None


def _tensor(archive: zipfile.ZipFile, member: str, entry: dict[str, Any]) -> Tensor:
    meta = entry["tensor_meta"]
    if entry["use_pickle"] or meta["dtype"] not in DTYPES:
        raise ValueError(f"{member} is not a plain tensor")
    if archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member} is compressed")
    shape = [size["as_int"] for size in meta["sizes"]]
    strides = [stride["as_int"] for stride in meta["strides"]]
    tensor = torch.frombuffer(bytearray(archive.read(member)), dtype=DTYPES[meta["dtype"]]).reshape(shape)
    if list(tensor.stride()) != strides:
        raise ValueError(f"{member} is not contiguous")
    return tensor
