"""params.yaml, read in one place into frozen, strict models: every name, type and bound of a parameter.

Defaults live in params.yaml alone. All mistakes are reported at once, each with the nearest valid name.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from imagetrail import addresses, signatures
from imagetrail.errors import ParamsError, nearest

PARAMS_FILE = "params.yaml"

Scalar = str | int | float | bool | None
Leaf = Scalar | list[Scalar]
"""What stands at the end of a dotted name."""


class Section(BaseModel):
    """A mapping of params.yaml: no other keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Named(BaseModel):
    """A class of a library by its own name; the other keys are its arguments, and null means not passed."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, use_attribute_docstrings=True)

    name: str

    @property
    def arguments(self) -> dict[str, object]:
        """Keyword arguments for the class: what is not null."""
        return {key: value for key, value in self if key != "name" and value is not None}

    def _check(self, family: signatures.Family) -> Self:
        if problems := family.problems(self.name, self.arguments):
            raise ValueError("\n".join(problems))
        return self


def _inside(value: str) -> str:
    if PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts:
        raise ValueError(f"{value!r} lies outside download.path, which is what DVC watches; move it in")
    return value


def _archive(value: str) -> str:
    if not addresses.is_address(value):
        return _inside(value)
    if problem := addresses.problem(value):
        raise ValueError(problem)  # which does not show the value
    return value


NonEmpty = Annotated[str, Field(min_length=1)]
Inside = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Device = Literal["auto", "cpu", "cuda"]


def _image_size(value: object) -> object:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(f"{value!r} must be one number of pixels, or [height, width], each from 1 to {MAX_SIDE}")
    return value


MAX_SIDE = 4096
DELIMITERS = (",", ";", "\t", "|")
ImageSize = Annotated[int | list[int], PlainValidator(_image_size)]


COLUMNS = {"image_column", "label_column", "split_column", "group_column"}
TABLE = COLUMNS | {"table", "delimiter", "images", "extension"}
OPTIONS: Mapping[str, set[str]] = {"csv": TABLE, "archive": TABLE | {"archive", "sha256"}, "parquet": COLUMNS}
"""What each source reads of section `download` besides `path`; those that are missing here read nothing else."""


class Download(Section):
    """Where the labelled images come from."""

    source: Literal[
        "digits", "csv", "folder", "archive", "parquet",
        "MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100",
        "DTD", "FGVCAircraft", "Flowers102", "Food101", "OxfordIIITPet",
    ]  # fmt: skip
    """`digits` (in scikit-learn), `csv`, `folder` (class folders), `archive` (of either), `parquet`, or one of
    torchvision's sets by its class name."""
    path: NonEmpty
    """Folder of local data, from the repository root; torchvision's files are looked for here before the network."""
    archive: Annotated[str, Field(min_length=1), AfterValidator(_archive)] | None
    """archive: a zip or tar in `path`, or an http(s) address, in which `$NAME` is an environment variable."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    """archive: what it must be; null takes what comes, and says what it was."""
    table: Inside
    """csv: the table, from `path`."""
    delimiter: Literal[",", ";", "\t", "|"] | None
    """csv: what separates cells; null finds it in the header."""
    images: Inside | Annotated[list[Inside], Field(min_length=1)]
    """csv: the folder that image names start from, from `path`; or several, of which one holds the image."""
    image_column: NonEmpty
    """csv: column of image names; parquet: column of the images themselves."""
    extension: str | None = Field(pattern=r"^\.\w+$")
    """csv: added to image names that stand in the table without one, such as .jpg."""
    label_column: NonEmpty
    """csv: column of labels; always read as text."""
    split_column: str | None
    """csv: column that says train, val or test for each row."""
    group_column: str | None
    """csv: column of what belongs together (a patient, a session): it stays on one side of the split."""
    weights: NonEmpty
    """Folder of pretrained weights, from the repository root; looked into before the network. See model.weights."""

    @model_validator(mode="after")
    def _archive_is_named(self) -> Self:
        if self.source == "archive" and self.archive is None:
            raise ValueError("archive = null, and source = 'archive' needs one: a file in path, or an address")
        if self.source != "archive" and (self.archive or self.sha256):
            raise ValueError(
                f"archive and sha256 have no effect with source = {self.source!r}; set that to archive, or them to null"
            )
        return self

    @property
    def unused(self) -> set[str]:
        """Options of other sources."""
        return set(Download.model_fields) - {"source", "path", "weights"} - OPTIONS.get(self.source, set())

    @property
    def image_folders(self) -> list[str]:
        """`images` as a list."""
        return [self.images] if isinstance(self.images, str) else self.images


Limit = Annotated[int, Field(ge=0)] | None


class Limits(Section):
    """How many images of a kind are allowed; one more fails the stage, and null allows any number. See health.py."""

    duplicate: Limit
    """Images with the same pixels as an earlier one."""
    near_duplicate: Limit
    """Images that differ from an earlier one by size, compression or brightness alone."""
    blank: Limit
    """Images of one colour."""
    tiny: Limit
    """Images that have to be magnified by more than 4."""
    odd_shape: Limit
    """Images whose shape is stretched by more than 4 to 1."""
    misnamed: Limit
    """Images of another format than their file's name says."""
    animated: Limit
    """Files of several frames, of which the first is used."""

    def by_kind(self) -> dict[str, int | None]:
        """The limits by the words of findings.csv."""
        return {name.replace("_", " "): limit for name, limit in self}


class Preprocess(Section):
    """From image files to one array."""

    image_size: ImageSize | None
    """Pixels: one number for a square, or [height, width]. Null where `divisor` decides."""
    divisor: Annotated[int, Field(ge=1)] | None
    """Each side of an image divided by this, rounded down; all images must then be of one size."""
    short_side: Annotated[int, Field(ge=1, le=MAX_SIDE)] | None
    """Resize the short side to this and cut image_size out of the centre; null stretches both sides to image_size."""
    channels: Literal[1, 3]
    """1 is grey (Rec. 709), 3 is RGB."""
    max_rejected: Annotated[int, Field(ge=0)]
    """Images that may be unusable; they stand in rejected.csv. One more fails the stage."""
    limits: Limits
    """Images that may be odd; they stand in findings.csv."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, or None where `divisor` decides."""
        if self.image_size is None:
            return None
        height, width = self.image_size if isinstance(self.image_size, list) else (self.image_size, self.image_size)
        return height, width

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.image_size is None) == (self.divisor is None):
            raise ValueError(
                f"image_size = {self.image_size} and divisor = {self.divisor}: one of them decides the size; "
                "set the other to null"
            )
        if self.short_side is not None and (self.size is None or self.short_side < max(self.size)):
            raise ValueError(
                f"short_side = {self.short_side} must be at least image_size = {self.image_size}, a part of it"
            )
        return self


class Split(Section):
    """Which rows train, which choose, which test."""

    by: Literal["stratified", "hash"]
    """stratified draws the same share of every class; hash lets each image, or group, decide for itself, so that it
    stays where it is when others are added. Images of a group and equal images stay together."""
    test: Annotated[float, Field(gt=0, lt=1)]
    """Share of the rows for the test, where the data states no split."""
    val: Annotated[float, Field(ge=0, lt=1)]
    """Share of the train rows for validation, where the data states none."""
    seed: Seed
    on_leak: Literal["fail", "drop"]
    """Images that a stated split, or hash, puts on another side than an equal one or one of their group: fail, or leave
    those out of train and val."""


class Model(Named):
    """The network: a class in src/imagetrail/models/, or a classifier of torchvision by its name, and its arguments."""

    weights: str | None
    """What training starts from: torchvision's name (ResNet50_Weights.IMAGENET1K_V2), or a file in download.weights;
    null draws random weights."""

    @property
    def arguments(self) -> dict[str, object]:
        """Keyword arguments of the network: what is not null, and not the weights."""
        return {key: value for key, value in super().arguments.items() if key != "weights"}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in (builders := signatures.BUILDERS.names()):
            names = signatures.MODELS.names() | (builders if self.name.islower() else set())
            if self.name not in names:
                raise ValueError(f"{self.name!r} is not known here; {nearest(self.name, names)}")
            return self._check(signatures.MODELS)
        if problems := signatures.MODELS.problems("Backbone", self.arguments):
            raise ValueError("\n".join(problem.replace("Backbone", self.name) for problem in problems))
        if self.arguments["freeze"] and self.weights is None:
            raise ValueError(
                "freeze = True keeps random weights for ever, since weights = null; give weights or unfreeze"
            )
        return self

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        kind, dot, _ = (self.weights or "").partition(".")
        if dot and kind.endswith("_Weights") and kind not in (names := signatures.WEIGHTS.names()):
            raise ValueError(f"weights = {self.weights!r} is not known to torchvision; {nearest(kind, names)}")
        return self


class Optimizer(Named):
    """A class of torch.optim and its arguments."""

    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Learning rate."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.OPTIMIZERS)


class Schedule(Named):
    """A class of torch.optim.lr_scheduler and its arguments.

    Stepped once an epoch, so its lengths are in epochs; OneCycleLR alone is stepped with every batch, its peak is
    train.optimizer.lr. CosineAnnealingLR without T_max reaches its end with the training.
    """

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.SCHEDULES)


class Loss(Named):
    """A loss class of torch.nn and its arguments."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.LOSSES)


class Averaging(Section):
    """Averaged weights (torch.optim.swa_utils), which validation measures and which become the model."""

    start_epoch: Positive
    """The first epoch that counts; before it the average is the weights themselves."""
    decay: Annotated[float, Field(gt=0, lt=1)] | None
    """Exponential average after every step with this decay; null is the plain mean of the epochs' ends."""


class Normalisation(Section):
    """Mean and standard deviation of each channel, for pixels scaled to [0, 1]."""

    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class Augment(Named):
    """A class of kornia.augmentation and its arguments; every image of a batch draws its own random numbers."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        return self._check(signatures.AUGMENTATIONS)


class Train(Section):
    """How the network is trained."""

    seed: Seed
    epochs: Positive
    batch_size: Positive
    """Images in a step."""
    optimizer: Optimizer
    schedule: Schedule | None
    warmup_epochs: Annotated[int, Field(ge=0)]
    """Epochs in which the learning rate rises linearly, before the schedule begins."""
    loss: Loss
    class_weights: Literal["balanced"] | None
    """balanced weighs each class in the loss by the inverse of its share of the train rows; null weighs all alike."""
    clip_grad_norm: Annotated[float, Field(gt=0)] | None
    """Largest norm of the gradient; a longer one is shortened to it."""
    averaging: Averaging | None
    augment: Annotated[list[Augment], Field(min_length=1)] | None
    """kornia's augmentations in the order in which they are applied to each batch; null changes no image."""
    normalisation: Normalisation | None
    """Null takes that of the pretrained weights, or the mean and standard deviation of the train rows."""
    keep: Literal["best", "last"]
    """Which epoch's weights become the model: the best validation accuracy, or the last."""
    patience: Positive | None
    """Stop after so many epochs without a better validation accuracy; null trains all epochs."""
    max_params: Positive | None
    """A contract: a network with more parameters is refused before the first batch."""
    precision: Literal["float32", "bfloat16"]
    device: Device
    """auto is CUDA where there is one."""
    threads: Positive
    """CPU threads of torch; another number can change the last bits of the weights."""

    @property
    def steps_each_batch(self) -> bool:
        """Whether the schedule moves with every batch instead of every epoch."""
        return self.schedule is not None and self.schedule.name == "OneCycleLR"

    @model_validator(mode="after")
    def _labels_mix_once(self) -> Self:
        mixing = [augment.name for augment in self.augment or [] if augment.name in signatures.MIXING]
        if len(mixing) > 1:
            raise ValueError(f"augment has {' and '.join(mixing)}, and labels can be mixed once; keep one of them")
        if mixing and self.loss.name != "CrossEntropyLoss":
            raise ValueError(
                f"augment has {mixing[0]}, which mixes labels: {self.loss.name} cannot take that; use CrossEntropyLoss"
            )
        return self

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        schedule = self.schedule.name if self.schedule else None
        if self.warmup_epochs and (schedule is None or schedule == "OneCycleLR"):
            why = "has a warm-up of its own, pct_start" if schedule else "is null, so nothing follows the warm-up"
            raise ValueError(f"warmup_epochs = {self.warmup_epochs} has no effect: train.schedule {why}; set it to 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs = {self.warmup_epochs} leaves none of epochs = {self.epochs}; lower it")
        if self.averaging and self.averaging.start_epoch > self.epochs:
            raise ValueError(
                f"averaging.start_epoch = {self.averaging.start_epoch} has no effect in {self.epochs} epochs; lower it"
            )
        if self.patience and self.patience >= self.epochs:
            raise ValueError(f"patience = {self.patience} has no effect in {self.epochs} epochs; lower it or set null")
        return self


Share = Annotated[float, Field(ge=0, le=1)]


class Gate(Section):
    """What a model must reach on the test rows; where it does not, `evaluate` fails. Null asks for nothing."""

    accuracy: Share | None
    """At least."""
    recall: Share | None
    """Of every class, at least."""
    ece: Share | None
    """Expected calibration error, at most."""
    baseline: NonEmpty | None
    """A run's id, or champion, the registry's: not worse on the same images than chance explains."""


class Evaluate(Section):
    """How the model is measured on the test rows."""

    batch_size: Positive
    """Images in a step."""
    device: Device
    threads: Positive
    calibration_bins: Positive
    """Equal-width bins of confidence for the expected calibration error."""
    mistakes: Positive
    """How many of the most confident mistakes are pictured."""
    gate: Gate | None
    registry: NonEmpty | None
    """Name in MLflow's registry, where a model that passes the gate becomes the champion, which `imagetrail predict`
    then takes."""

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        if self.registry is not None and self.gate is None:
            raise ValueError(
                f"registry = {self.registry!r} takes what passes evaluate.gate, which is null; set its floors"
            )
        if self.gate is not None and self.gate.baseline == "champion" and self.registry is None:
            raise ValueError("gate.baseline = 'champion' needs the registry's name; set evaluate.registry")
        return self


class Machine(Section):
    """What cannot change an output's bytes; no stage lists it among its parameters."""

    jobs: int
    """Workers that decode images; -1 is one a core."""
    backend: Literal["loky", "dask"]
    """Where they are: loky is this machine; dask is a cluster, whose own number of workers counts."""
    scheduler: NonEmpty | None
    """dask: the scheduler's address, such as tcp://10.0.0.1:8786."""

    @model_validator(mode="after")
    def _some_worker(self) -> Self:
        if self.jobs == 0:
            raise ValueError("jobs = 0 decodes nothing; give a number of workers, or -1 for one a core")
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ValueError(
                f"backend = {self.backend!r} and scheduler = {self.scheduler!r}: dask needs a scheduler's address, and "
                "loky has none"
            )
        return self


class Params(Section):
    """The whole of params.yaml."""

    download: Download
    preprocess: Preprocess
    split: Split
    model: Model
    train: Train
    evaluate: Evaluate
    machine: Machine

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        if self.train.keep == "best" and self.split.val == 0:
            raise ValueError("train.keep = 'best' needs validation rows, and split.val = 0 sets none aside; "
                             "set split.val above 0 or train.keep to 'last'")  # fmt: skip
        if self.train.patience and self.split.val == 0:
            raise ValueError(f"train.patience = {self.train.patience} needs validation rows, and split.val = 0 sets "
                             "none aside; set split.val above 0 or train.patience to null")  # fmt: skip
        normalisation, channels = self.train.normalisation, self.preprocess.channels
        if normalisation and {len(normalisation.mean), len(normalisation.std)} != {channels}:
            raise ValueError(
                f"train.normalisation must have a mean and a std for each of preprocess.channels = {channels}"
            )
        return self

    def effective(self) -> dict[str, Leaf]:
        """The parameters that took part, by dotted name: without nulls and without other sources' options."""
        unused = self.download.unused | (set() if self.model.weights else {"weights"})
        return {
            name: leaf
            for name, leaf in leaves(self.model_dump(mode="json", exclude={"machine": True, "download": unused}))
            if leaf is not None
        }


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """The values of a tree by dotted name; mappings in a list are counted from 0."""
    for key, value in tree.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value  # type: ignore[misc]  # YAML's leaves


def load_params(root: Path) -> Params:
    """Read and check params.yaml.

    Args:
        root: the repository's root.

    Raises:
        ParamsError: the file is missing or is no YAML, or any parameter is wrong; all mistakes in one message.
    """
    path = root / PARAMS_FILE
    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the repository's root, or restore it with git.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{PARAMS_FILE} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{PARAMS_FILE} holds {type(tree).__name__} instead of sections; restore it with git.")
    return parse_params(tree, PARAMS_FILE)


def parse_params(tree: Mapping[str, object], file: str) -> Params:
    """Check parameters that are already read; `file` is named in the message."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in _sentences(dict(problem))]
    unique = list(dict.fromkeys(lines))
    if len(unique) == 1:
        raise ParamsError(f"{file}: {unique[0]}")
    raise ParamsError(f"{file} has {len(unique)} mistakes:\n" + "\n".join(f"  {line}" for line in unique))


def _sentences(problem: dict[str, object]) -> Iterator[str]:
    location = [str(part) for part in problem["loc"] if isinstance(part, str)]  # type: ignore[attr-defined]
    keys = _real_keys(location)
    name, value, kind = ".".join(keys), problem["input"], problem["type"]
    context = problem.get("ctx", {})
    assert isinstance(context, dict)
    match kind:
        case "extra_forbidden":
            yield f"{name} = {value!r} is not a parameter; {nearest(keys[-1], _siblings(keys))}"
        case "missing":
            yield f"{name} is missing; recipes/default.yaml holds its default."
        case "value_error":
            for line in str(context["error"]).splitlines():
                yield f"{name}: {line}" if name else line
        case "literal_error":
            words = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            yield f"{name} = {value!r} is not valid; {nearest(str(value), words)}"
        case "model_type":
            yield f"{name} = {value!r} must be a mapping with the keys of {context['class_name']}"
        case "too_short":
            yield f"{name} = {value!r} is empty; set it to null"
        case "finite_number":
            yield f"{name} = {value!r} must be a finite number"
        case _:
            message = str(problem["msg"])
            expected = message.removeprefix("Input should be ").removeprefix("a valid ")
            yield f"{name} = {_shown(value)} must be {expected}"


def _shown(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return repr(value)


def _section(keys: list[str]) -> type[BaseModel] | None:
    """The model that holds the mapping at `keys`."""
    model: type[BaseModel] = Params
    for key in keys:
        if key not in model.model_fields:
            return None
        annotation = model.model_fields[key].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [t for t in options if isinstance(t, type) and issubclass(t, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def _real_keys(location: list[str]) -> list[str]:
    """Pydantic adds the tried type of a union to the path; keep what stands in the file."""
    keys: list[str] = []
    for part in location:
        model = _section(keys)
        if model is None or (part not in model.model_fields and part == "Schedule"):
            break
        keys.append(part)
    return keys


def _siblings(keys: list[str]) -> list[str]:
    model = _section(keys[:-1])
    return list(model.model_fields) if model else []
