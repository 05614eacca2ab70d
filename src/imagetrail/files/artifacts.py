"""The files that stages hand to each other: paths, formats, and atomic writes.

This file imports neither numpy nor torch, so code that only looks at files starts fast. Outputs hold no times, ids or
absolute paths.
"""

import csv
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from imagetrail.errors import ArtifactError, quoted

T = TypeVar("T")

RAW = Path("data/raw")
TENSORS = Path("data/tensors")
SPLIT = Path("data/split")
MODELS = Path("models")
METRICS = Path("metrics")
PLOTS = Path("plots")
PRETRAINED = Path("data/pretrained")
"""Holds weights.json (see Weights), and the pretrained weights themselves if `download` fetched them."""
LINES = Path("data/lines")
"""Holds lines.csv; no stage depends on it, so that a table in another order reruns `download` only."""
OUTPUTS = (RAW, LINES, PRETRAINED, TENSORS, SPLIT, MODELS, PLOTS)
"""The folders whose contents DVC keeps; git keeps metrics/."""
DATA_PICTURES = ("data.png", "findings.png")
"""The pictures of preprocess, in PLOTS."""
COLUMNS = "columns.csv"
"""In RAW and TENSORS, if download.columns asks for it: the values of each image, in the order of the images."""
TIMM = "timm/"
"""Start of the names of timm's networks in params.yaml, and of the repositories of its hub."""
CHECKPOINTS = Path(".imagetrail/checkpoints")
"""In the workspace, outside DVC's outputs."""
REJECTED = Path("data/rejected.csv")
FINDINGS = Path("data/findings.csv")
"""Lists of a failing preprocess: outside DVC's outputs, so that `dvc checkout` restores those without asking."""


class LabelRow(NamedTuple):
    """A line of data/raw/labels.csv: an image of the source, as it was found."""

    image: str
    """Name from the images' folder, with forward slashes; unique."""
    label: str
    split: str
    """train, val, test, or empty if the source states none."""
    group: str
    size: str
    """Bytes; empty if the file is missing."""
    sha256: str
    """sha256 of the file, or of the pixels if the source is one array; empty if the file is missing."""


class LineRow(NamedTuple):
    """A line of data/lines/lines.csv: where the user's table names an image."""

    image: str
    place: str
    """As in `line 2`, or `train.csv, line 2` of several tables."""


class TensorRow(NamedTuple):
    """A line of data/tensors/rows.csv: the origin of a row of images.npy."""

    image: str
    label: str
    split: str
    group: str
    pixel_sha256: str
    """sha256 of the uint8 [C,H,W] pixels."""


class Rejection(NamedTuple):
    """A line of rejected.csv: an image that cannot be used."""

    image: str
    row: int
    """Line in data/raw/labels.csv; the header is line 1."""
    reason: str


class Finding(NamedTuple):
    """A line of findings.csv: an image that is usable but suspicious; see health.KINDS."""

    kind: str
    image: str
    other: str
    """The image that it is a duplicate of; empty for other kinds."""
    detail: str


@dataclass(frozen=True)
class Dataset:
    """data/tensors/dataset.json."""

    source: str
    classes: list[str]
    """Class names; a label is an index into them."""
    counts: dict[str, int]
    """Images of each class."""
    shape: list[int]
    """[N, C, H, W] of images.npy."""
    short_side: int | None
    """Pixels to which the short side was resized before cropping the centre; None if both sides were stretched."""
    rejected: int
    sizes: dict[str, list[int]]
    """Smallest, median and largest `height` and `width` of the images in pixels, before resizing."""
    findings: dict[str, int | None]
    """Number of findings of each kind in findings.csv; None if the check did not run."""
    sha256: str
    """sha256 of rows.csv, which holds the sha256 of every row's pixels: one value for the whole data set."""
    arrays: dict[str, str]
    """sha256 of images.npy and labels.npy, by name."""
    value_range: list[int] | None = None
    """Values that became 0 and 255 in images of more than 8 bits; None if their formats told."""
    recognised: dict[str, dict[str, Any]] = field(default_factory=dict)
    """See Source."""
    corrections: dict[str, int] = field(default_factory=dict)
    """See Source."""

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return self.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.shape[2], self.shape[3]


@dataclass(frozen=True)
class Source:
    """data/raw/source.json: how the data was read."""

    source: str
    """A value of download.source, never `auto`."""
    image_column: str | None
    """parquet: the column of the images."""
    recognised: dict[str, dict[str, Any]]
    """`value` and `reason` of each option that `auto` chose, by name; empty if params.yaml states them."""
    corrections: dict[str, int] = field(default_factory=dict)
    """Images that relabel.csv gives another label and leaves out, as `relabelled` and `dropped`; empty without it."""


@dataclass(frozen=True)
class Weights:
    """data/pretrained/weights.json: the pretrained weights that a training starts from."""

    name: str
    """model.weights, as params.yaml has it."""
    file: str
    """Name in download.weights, or in data/pretrained if it was fetched."""
    fetched: bool
    sha256: str

    def path(self, root: Path, local: str) -> Path:
        """Find the file; `local` is download.weights.

        Raises:
            ArtifactError: it is missing, or has changed since `download` found it.
        """
        folder = root / PRETRAINED if self.fetched else root / local
        with reading(folder / self.file, "download") as path:
            if file_sha256(path) != self.sha256:
                raise ArtifactError(f"{path} has changed since `download` found it; run `dvc repro` from there.")
            return path


# --- writing: all or nothing ------------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`, and rename it to `path` if the block succeeds.

    The block creates a file or a folder at the yielded name. An earlier `path` is replaced if the block succeeds and
    kept if it fails; the temporary name is always removed.

    Raises:
        ArtifactError: the disk refuses: read-only, full, not a folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            yield temporary
            if path.is_dir():
                _replace_folder(temporary, path)
            else:
                temporary.replace(path)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.filename is not None and not _inside(Path(os.fsdecode(error.filename)), path.parent):
            raise
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); free or unlock its folder.") from error


def _replace_folder(new: Path, old: Path) -> None:
    """Put a folder in the place of another, which comes back if that fails."""
    aside = old.with_name(f".{old.name}.old.{os.getpid()}.tmp")
    old.replace(aside)
    try:
        new.replace(old)
    except BaseException:
        aside.replace(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary siblings of `path` that killed processes left."""
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        import psutil  # imported only if a process was killed

        number = abandoned.name.removesuffix(".tmp").rpartition(".")[2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            if abandoned.is_dir():
                shutil.rmtree(abandoned, ignore_errors=True)
            else:
                abandoned.unlink(missing_ok=True)


def _inside(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute()) or folder.absolute().is_relative_to(path.absolute())


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Like `writing`, for a folder that already exists when the block begins."""
    with writing(path) as temporary:
        temporary.mkdir()
        yield temporary


def write_json(path: Path, value: object) -> None:
    """Write JSON, readable and with a stable order of keys as given."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV table, row by row as they come."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def workspace(root: Path) -> Path:
    """Return the user's repository, which DVC_ROOT names while DVC runs a queued experiment in a temporary copy."""
    return Path(os.environ.get("DVC_ROOT") or root)


# --- reading ----------------------------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path, made_by: str) -> Iterator[Path]:
    """Turn a missing or damaged file into a sentence that says which stage makes it."""
    try:
        yield path
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; `dvc repro {made_by}` makes it.") from None
    except (ValueError, LookupError, TypeError, OSError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}); `dvc repro --force {made_by}` writes it again."
        ) from error


def parsed(kind: type[T], text: str) -> T:
    """Build a dataclass from JSON, as strictly as params.yaml is read.

    Raises:
        ValueError: a field is missing, unknown, or of another type.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    kind.__pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # type: ignore[attr-defined]
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ValueError(f"{name or kind.__name__} = {quoted(first['input'])}: {first['msg'].lower()}") from None


def read_labels(root: Path) -> Iterator[LabelRow]:
    """Yield the lines of data/raw/labels.csv, sorted by image."""
    yield from (LabelRow(*line) for line in _read_rows(root / RAW / "labels.csv", "download", LabelRow._fields))


def read_lines(root: Path) -> Iterator[LineRow]:
    """Yield the lines of data/lines/lines.csv, sorted by image; none if the images come from no table."""
    yield from (LineRow(*line) for line in _read_rows(root / LINES / "lines.csv", "download", LineRow._fields))


def read_tensor_rows(root: Path) -> Iterator[TensorRow]:
    """Yield the lines of data/tensors/rows.csv, in the order of the tensors' rows."""
    yield from tensor_rows(root / TENSORS)


def image_names(root: Path, rows: Iterable[int]) -> dict[int, str]:
    """Return the image names of some rows of the tensors, by row; memory does not grow with the other rows."""
    wanted = set(rows)
    return {number: row.image for number, row in enumerate(read_tensor_rows(root)) if number in wanted}


def carry_columns(raw: Path, folder: Path) -> None:
    """Copy the lines of columns.csv for the rows of a folder that becomes data/tensors; nothing if there is none."""
    if not (raw / COLUMNS).is_file():
        return
    with reading(raw / COLUMNS, "download") as path, path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        write_rows(folder / COLUMNS, header, (_line_of(row.image, lines) for row in tensor_rows(folder)))


def _line_of(image: str, lines: Iterator[list[str]]) -> list[str]:
    """Return the next line of an image; both come in the same order."""
    found = next((line for line in lines if line[0] == image), None)
    if found is None:
        raise ValueError(f"it lacks {quoted(image)}")
    return found


def read_columns(root: Path, rows: Iterable[int]) -> dict[str, list[str]]:
    """Read the columns that download.columns kept, for some rows of the tensors in ascending order.

    Returns:
        The values of each column by its name; empty if none were kept.
    """
    if not (root / TENSORS / COLUMNS).is_file():
        return {}
    wanted = set(rows)
    with reading(root / TENSORS / COLUMNS, "preprocess") as path, path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        _, *names = next(lines, [])
        found = [line[1:] for number, line in enumerate(lines) if number in wanted]
        return {name: [values[place] for values in found] for place, name in enumerate(names)}


def tensor_rows(folder: Path) -> Iterator[TensorRow]:
    """Yield the lines of rows.csv in a folder that becomes data/tensors."""
    yield from (TensorRow(*line) for line in _read_rows(folder / "rows.csv", "preprocess", TensorRow._fields))


def _read_rows(path: Path, made_by: str, fields: tuple[str, ...]) -> Iterator[list[str]]:
    with reading(path, made_by), path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) != fields:
            raise ValueError(f"its columns are not {', '.join(fields)}")
        yield from lines


def read_findings(root: Path) -> Iterator[Finding]:
    """Yield the lines of data/tensors/findings.csv."""
    yield from (Finding(*line) for line in _read_rows(root / TENSORS / "findings.csv", "preprocess", Finding._fields))


def read_dataset(root: Path) -> Dataset:
    """Read data/tensors/dataset.json."""
    with reading(root / TENSORS / "dataset.json", "preprocess") as path:
        return parsed(Dataset, path.read_text(encoding="utf-8"))


def check_tensors(root: Path, *names: str) -> None:
    """Check files of data/tensors against the digests in dataset.json: bit rot and files of other rows change them.

    Raises:
        ArtifactError: a file is missing or differs.
    """
    dataset = read_dataset(root)
    stated = dataset.arrays | {"rows.csv": dataset.sha256}
    for name in names:
        with reading(root / TENSORS / name, "preprocess") as path:
            if file_sha256(path) != stated[name]:
                raise ArtifactError(
                    f"{path} is not the file that dataset.json describes; `dvc repro --force preprocess` writes both."
                )


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write dataset.json."""
    write_json(path, asdict(dataset))


def write_source(folder: Path, source: Source) -> None:
    """Write source.json into a folder that becomes data/raw."""
    write_json(folder / "source.json", asdict(source))


def read_source(root: Path) -> Source:
    """Read data/raw/source.json."""
    with reading(root / RAW / "source.json", "download") as path:
        return parsed(Source, path.read_text(encoding="utf-8"))


def write_weights(folder: Path, weights: Weights | None) -> None:
    """Write weights.json into a folder that becomes data/pretrained."""
    write_json(folder / "weights.json", None if weights is None else asdict(weights))


def read_weights(root: Path) -> Weights | None:
    """Read data/pretrained/weights.json; None if training starts from random weights."""
    with reading(root / PRETRAINED / "weights.json", "download") as path:
        text = path.read_text(encoding="utf-8")
        return None if text.strip() == "null" else parsed(Weights, text)


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Read a JSON file that a stage wrote."""
    with reading(path, made_by):
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds {quoted(values)} instead of names and values")
        return values


def read_card(root: Path) -> dict[str, Any]:
    """Read models/model.json without importing torch; see classifier.Card."""
    return read_json(root / MODELS / "model.json", "train")


def read_metrics(root: Path, stage: Literal["train", "test"]) -> dict[str, Any]:
    """Read metrics/train.json or metrics/test.json."""
    return read_json(root / METRICS / f"{stage}.json", "train" if stage == "train" else "evaluate")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
