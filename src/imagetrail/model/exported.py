"""Read the weights of a torch.export archive (.pt2) without running anything in it.

`torch.export.load` unpickles unknown values and compiles code from the archive, so a hostile file can run code. The
weights are plain bytes listed in a JSON table; this module reads only those two.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagetrail.errors import ArtifactError

WEIGHTS_TABLE = "/data/weights/model_weights_config.json"
DTYPES = {5: torch.int64, 7: torch.float32}
"""By their numbers in torch's schema (torch._export.serde.schema.ScalarType); a classifier has no others."""


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
