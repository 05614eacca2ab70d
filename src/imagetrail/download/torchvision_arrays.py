"""Sources `MNIST`, `CIFAR10` and their like: torchvision's data sets of small images, with their official split.

Files below `download.path` are used without a network; otherwise torchvision downloads them.
"""

import gzip
import hashlib
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from imagetrail.console import warn
from imagetrail.download.job import DOWNLOADS, SourceJob
from imagetrail.errors import DataError
from imagetrail.files.arrays import NpyWriter
from imagetrail.files.artifacts import LabelRow


def load(job: SourceJob) -> list[LabelRow]:
    """Write both parts as one images.npy, uint8 [N,H,W] or [N,H,W,3], rows named `test/00000` … `train/59999`.

    Raises:
        DataError: the files are neither under `download.path` nor to be downloaded.
    """
    from torchvision import datasets

    name = job.options.source
    named_set = getattr(datasets, name)
    with TemporaryDirectory() as scratch:
        root = _local_root(job, [file for file, _ in getattr(named_set, "resources", ())], Path(scratch))
        try:
            if root is None:
                warn(f"{name} is not under {job.options.path}; torchvision downloads it.")
                root = job.root / DOWNLOADS
            download = root == job.root / DOWNLOADS
            parts = [named_set(root, train=train, download=download) for train in (False, True)]
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{name} could not be loaded ({str(error).strip().splitlines()[-1]}); "
                f"put its files under download.path = {job.options.path!r} and repeat."
            ) from error
    rows = []
    first = np.asarray(parts[0].data)
    with NpyWriter(job.folder / "images.npy", first.shape[1:], np.uint8) as writer:
        for split, part in zip(("test", "train"), parts, strict=True):
            pixels = np.asarray(part.data)
            writer.append(pixels)
            for number, (image, target) in enumerate(zip(pixels, part.targets, strict=True)):
                label, sha256 = part.classes[int(target)], hashlib.sha256(image.tobytes()).hexdigest()
                rows.append(LabelRow(f"{split}/{number:05d}", label, split, "", str(image.nbytes), sha256))
    return rows


def _local_root(job: SourceJob, files: list[str], scratch: Path) -> Path | None:
    """Build a root as torchvision's class wants it from the files below `download.path`; None if they are missing.

    The idx files of the MNIST family are accepted as they come: compressed or not, in the folder itself or as
    torchvision lays them out.
    """
    name = job.options.source
    if not files:
        return (
            job.local
            if any(job.local.glob("cifar-10*-batches-py" if name == "CIFAR10" else "cifar-100-python"))
            else None
        )
    for folder in (job.local, job.local / "raw", job.local / name / "raw"):
        found = [next((p for p in (folder / file, folder / Path(file).stem) if p.is_file()), None) for file in files]
        if None not in found:
            raw = scratch / name / "raw"
            raw.mkdir(parents=True)
            for path in found:
                assert path is not None
                with (
                    gzip.open(path) if path.suffix == ".gz" else path.open("rb") as source,
                    (raw / path.name.removesuffix(".gz")).open("wb") as target,
                ):
                    shutil.copyfileobj(source, target)
            return scratch
    return None
